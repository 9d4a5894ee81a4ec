"""The saved network's forward pass in NumPy, for a few images: importing JAX and Flax takes a second, this nothing.

It is written apart from the network in Flax, by its definition, so that each also checks the other. Convolutions are
matrix products; batch normalisation is folded into the kernels.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from retrieval.model.config import ModelConfig
from retrieval.schema.arrays import Float, Float32, UInt8

Array = Float32[np.ndarray, "..."]
Layer = Callable[[Array], Array]
Pads = tuple[tuple[int, int], tuple[int, int]]

EPSILON = 1e-5
"""Added to the variance in batch normalisation, as Flax does."""
SAME: Pads = ((1, 1), (1, 1))


class NumpyNetwork:
    """A network that is ready to encode and decode."""

    def __init__(self, config: ModelConfig, weights: Mapping[str, np.ndarray]) -> None:
        """Raises LookupError for weights other than those that the config describes."""
        self.config = config
        take = Weights(weights)
        self._encode = read_encoder(config, take)
        self._decode = read_decoder(config, take)
        take.finish()

    def encode(self, images: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n d"]:
        """Embeddings of length 1 of images in [0, 255], one image after the other."""
        with np.errstate(all="ignore"):  # the caller looks whether the numbers are finite
            codes = [normalize(self._encode(image[None].astype(np.float32))) for image in images]
        return np.concatenate([np.empty((0, self.config.dim), np.float32), *codes])

    def decode(self, codes: Float[np.ndarray, "n d"]) -> Float32[np.ndarray, "n h w c"]:
        """What the decoder makes of the codes, in [0, 1]."""
        return self._decode(codes.astype(np.float32))


class Weights:
    """The weights by name, handed out once each."""

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self._left = dict(weights)

    def __call__(self, name: str, *shape: int) -> Array:
        """A weight of that shape. Raises LookupError for a missing one, another shape and other numbers than f32."""
        weight = self._left.pop(name)
        if weight.shape != shape or weight.dtype != np.float32:
            raise LookupError(f"{name} is {weight.dtype}{weight.shape}, not float32{shape}")
        return weight

    def normed(self, name: str, *shape: int) -> tuple[Array, Array]:
        """Kernel and offset of a layer and the batch normalisation after it."""
        width = shape[-1]
        scale, bias, mean, var = (self(f"{name}.norm.{part}", width) for part in ("scale", "bias", "mean", "var"))
        factor = scale / np.sqrt(var + np.float32(EPSILON))
        return self(f"{name}.layer.kernel", *shape) * factor, bias - mean * factor

    def biased(self, name: str, *shape: int) -> tuple[Array, Array]:
        """Kernel and offset of a layer."""
        return self(f"{name}.kernel", *shape), self(f"{name}.bias", shape[-1])

    def finish(self) -> None:
        """Raise LookupError if a weight is left."""
        if self._left:
            raise LookupError(f"{min(self._left)} is not known")


def read_encoder(config: ModelConfig, take: Weights) -> Layer:
    """The encoder: images in [0, 255] to embeddings that are not yet normalised."""
    if config.trunk:
        from retrieval.model.numpy_trunk import read_trunk_encoder

        return read_trunk_encoder(config, take)
    layers: list[Layer] = [lambda images: images / np.float32(255)]
    inputs, sides = config.channels, list(config.image_size)
    for stage, (width, blocks) in enumerate(zip(config.widths, config.blocks, strict=True), start=1):
        name = f"encoder.layers.{len(layers) - 1}"
        if stage == 1 and config.stem == 4:
            kernel = take.normed(f"{name}.normed", 2, 2, 16 * inputs, width)
            layers.append(chain(unshuffle, unshuffle, partial(convolve, *kernel, pads=((0, 1), (0, 1))), relu))
            sides = [math.ceil(math.ceil(side / 2) / 2) for side in sides]
        elif stage in (1, len(config.widths)):
            kernel = take.normed(name, 3, 3, inputs, width)
            pads = tuple((0, 1 - side % 2) for side in sides)
            layers.append(chain(partial(convolve, *kernel, pads=pads, stride=2), relu))
            sides = [side // 2 for side in sides]
        else:
            layers.append(chain(unshuffle, partial(multiply, *take.normed(f"{name}.normed", 4 * inputs, width)), relu))
            sides = [math.ceil(side / 2) for side in sides]
        for _ in range(blocks):
            kernel = take.normed(f"encoder.layers.{len(layers) - 1}.normed", 3, 3, width, width)
            layers.append(plus_input(chain(partial(convolve, *kernel, pads=SAME), relu)))
        inputs = width
    dense = take.biased("encoder.dense", math.prod(sides) * inputs, config.dim)
    return chain(*layers, flatten, partial(multiply, *dense))


def read_decoder(config: ModelConfig, take: Weights) -> Layer:
    """The decoder: embeddings to images in [0, 1]."""
    height, width = config.picture
    grid = math.ceil(height / 4), math.ceil(width / 4)
    turn_back = take("decoder.turn_back", config.dim, config.dim)
    dense = take.biased("decoder.dense", config.dim, math.prod(grid) * 16)
    first = take.biased("decoder.conv1", 3, 3, 16, 32)
    second = take.biased("decoder.conv2", 3, 3, 8, 4 * config.channels)

    def decode(codes: Array) -> Array:
        x = normalize(codes @ turn_back) * np.float32(math.sqrt(config.dim))
        x = gelu(multiply(*dense, x)).reshape(len(codes), *grid, 16)
        x = shuffle(gelu(convolve(*first, x, pads=SAME)))
        x = shuffle(convolve(*second, x, pads=SAME))[:, :height, :width]
        return sigmoid(x)

    return decode


# Layers: each takes and returns f32[b, h, w, c], or f32[b, d].


def chain(*layers: Layer) -> Layer:
    """The layers one after the other."""

    def run(x: Array) -> Array:
        for layer in layers:
            x = layer(x)
        return x

    return run


def plus_input(layer: Layer) -> Layer:
    """The layer's output plus its input."""
    return lambda x: x + layer(x)


def multiply(kernel: Array, bias: Array, x: Array) -> Array:
    """A matrix product over the last axis."""
    out: Array = (x.reshape(-1, len(kernel)) @ kernel + bias).reshape(*x.shape[:-1], -1)
    return out


def convolve(kernel: Array, bias: Array, x: Array, *, pads: Sequence[tuple[int, int]], stride: int = 1) -> Array:
    """A convolution, as a product of the matrix of all patches."""
    x = np.pad(x, ((0, 0), *pads, (0, 0)))
    patches = sliding_window_view(x, kernel.shape[:2], axis=(1, 2))[:, ::stride, ::stride]  # b h w i kh kw
    rows = patches.transpose(0, 1, 2, 4, 5, 3).reshape(*patches.shape[:3], -1)
    return multiply(kernel.reshape(rows.shape[-1], -1), bias, rows)


def unshuffle(x: Array) -> Array:
    """Blocks of 2×2 pixels become channels; odd sides are padded with zeros."""
    x = np.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))
    return np.concatenate([x[:, row::2, column::2] for row in (0, 1) for column in (0, 1)], axis=-1)


def shuffle(x: Array) -> Array:
    """Channels become blocks of 2×2 pixels."""
    b, h, w, c = x.shape
    out = np.empty((b, 2 * h, 2 * w, c // 4), np.float32)
    for number, (row, column) in enumerate(np.ndindex(2, 2)):
        out[:, row::2, column::2] = x[..., number * c // 4 : (number + 1) * c // 4]
    return out


def flatten(x: Array) -> Array:
    """One row for each image."""
    return x.reshape(len(x), -1)


def relu(x: Array) -> Array:
    """In place."""
    out: Array = np.maximum(x, 0, out=x)
    return out


def gelu(x: Array) -> Array:
    """The approximation with tanh."""
    out: Array = x / 2 * (1 + np.tanh(np.float32(math.sqrt(2 / math.pi)) * (x + np.float32(0.044715) * x**3)))
    return out


def sigmoid(x: Array) -> Array:
    """By tanh, because exp overflows."""
    out: Array = np.tanh(x / 2) / 2 + np.float32(0.5)
    return out


def normalize(x: Array) -> Array:
    """Scale each row to length 1; zero stays zero."""
    out: Array = x / np.sqrt(np.sum(x**2, axis=-1, keepdims=True) + np.float32(1e-12))
    return out
