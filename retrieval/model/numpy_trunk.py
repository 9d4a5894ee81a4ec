"""The encoder of a model on the trunk, in NumPy: as `trunk.py` and `trunk_encoder.py`, for a few images."""

import math
from functools import partial

import numpy as np

from retrieval.model.config import ModelConfig
from retrieval.model.numpy_network import Array, Layer, Weights, chain, convolve, gelu, multiply, normalize, plus_input
from retrieval.model.trunk_weights import CENTRE, HEAD, HIDDEN, LAST, MIDDLE, POOLED, SCALE, STEM, padding, read_trunk


def read_trunk_encoder(config: ModelConfig, take: Weights) -> Layer:
    """The encoder of a model on the trunk: images in [0, 255] to embeddings that are not yet normalised."""
    trunk = Weights(read_trunk())
    stem, inputs = partial(convolve_same, *trunk.biased("stages.0.layers.0", 3, 3, 3, STEM), stride=2), STEM
    feature_map: list[Layer] = [lambda images: (images - np.float32(CENTRE)) / np.float32(SCALE), stem, relu6]
    for number, stage in enumerate(MIDDLE, start=1):
        for block in range(stage.blocks):
            name, stride = f"stages.{number}.layers.{block}", 1 if block else stage.stride
            inner = inputs * stage.expand
            layers: list[Layer] = []
            if stage.expand > 1:
                layers += [partial(multiply, *trunk.biased(f"{name}.expand", inputs, inner)), relu6]
            depthwise = trunk.biased(f"{name}.depthwise", stage.kernel, stage.kernel, inner)
            layers += [partial(convolve_channels, *depthwise, stride=stride), relu6]
            layers.append(partial(multiply, *trunk.biased(f"{name}.project", inner, stage.width)))
            same = stride == 1 and inputs == stage.width
            feature_map.append(plus_input(chain(*layers)) if same else chain(*layers))
            inputs = stage.width
    quartered = chain(*feature_map)
    whole = chain(partial(multiply, *trunk.biased(f"stages.{LAST}.layers.0", inputs, HEAD)), relu6)
    dense = take.biased("encoder.dense", POOLED, config.dim)
    hidden = take.biased("encoder.hidden", POOLED, HIDDEN)
    added = take("encoder.added.kernel", HIDDEN, config.dim)

    def encode(images: Array) -> Array:
        x = quartered(images)
        height, width = (math.ceil(side / 2) for side in x.shape[1:3])
        quarters = [
            x[:, rows, columns].mean(axis=(1, 2))
            for rows in (slice(height), slice(-height, None))
            for columns in (slice(width), slice(-width, None))
        ]
        parts = normalize(np.concatenate(quarters, axis=-1)), normalize(whole(x).mean(axis=(1, 2)))
        pooled = np.concatenate(parts, axis=-1)
        out: Array = multiply(*dense, pooled) + gelu(multiply(*hidden, pooled)) @ added
        return out

    return encode


def convolve_same(kernel: Array, bias: Array, x: Array, *, stride: int) -> Array:
    """A convolution, padded as the trunk's are."""
    return convolve(kernel, bias, x, pads=[padding(side, len(kernel), stride) for side in x.shape[1:3]], stride=stride)


def convolve_channels(kernel: Array, bias: Array, x: Array, *, stride: int) -> Array:
    """A convolution of each channel by itself: the image shifted k² ways, each times a number, and summed."""
    height, width = (math.ceil(side / stride) for side in x.shape[1:3])
    x = np.pad(x, ((0, 0), *(padding(side, len(kernel), stride) for side in x.shape[1:3]), (0, 0)))
    total = np.empty((len(x), height, width, x.shape[3]), np.float32)
    total[:] = bias
    product = np.empty_like(total)
    for row, column in np.ndindex(kernel.shape[:2]):
        shifted = x[:, row::stride, column::stride][:, :height, :width]
        total += np.multiply(shifted, kernel[row, column], out=product)
    return total


def relu6(x: Array) -> Array:
    """In place."""
    out: Array = np.clip(x, 0, 6, out=x)
    return out
