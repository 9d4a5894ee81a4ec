"""EfficientNet-Lite0 without its classifier, in Flax NNX: a network trained on ImageNet, for photographs.

The network is that of Tan & Le (2019, arXiv 1905.11946) in the edition for small devices: inverted residuals with ReLU6
and without squeeze-and-excitation. scripts/make_trunk has taken its batch normalisations into the
kernels, so that a layer is a kernel and an offset; all are `nnx.Param`, for Optax to fine-tune. Layers are chosen for
XLA on a CPU (docs/decisions/0024): 1×1 convolutions are matrix products, depthwise ones sums of shifted images.
"""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from retrieval.model.trunk_weights import CENTRE, HEAD, LAST, MIDDLE, SCALE, STEM, WEIGHTS, Stage, padding, read_trunk

SIDE = 224
"""Pixels: the side of the images it was trained on; smaller ones are faster."""
TOGETHER = 8 * 128 * 128
"""Pixels that go through the network together on a CPU: with more, the widest feature maps fall out of its cache."""


class Stem(nnx.Module):
    """A 3×3 convolution of stride 2 and ReLU6."""

    def __init__(self, width: int) -> None:
        self.kernel = nnx.Param(jnp.zeros((3, 3, 3, width)))
        self.bias = nnx.Param(jnp.zeros(width))

    def __call__(self, x: Float[Array, "b h w 3"]) -> Float[Array, "b hh ww o"]:
        pads = tuple(padding(side, 3, 2) for side in x.shape[1:3])
        x = jax.lax.conv_general_dilated(x, self.kernel[...], (2, 2), pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return jax.nn.relu6(x + self.bias[...])


class Pointwise(nnx.Module):
    """A 1×1 convolution, as a matrix product."""

    def __init__(self, inputs: int, width: int) -> None:
        self.kernel = nnx.Param(jnp.zeros((inputs, width)))
        self.bias = nnx.Param(jnp.zeros(width))

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h w o"]:
        return x @ self.kernel[...] + self.bias[...]


class Depthwise(nnx.Module):
    """A convolution of each channel by itself, and ReLU6: the image shifted k² ways, each times a number, and summed.

    XLA's own on a CPU (`feature_group_count`) takes five times as long.
    """

    def __init__(self, width: int, kernel: int, stride: int) -> None:
        self.stride = stride
        self.kernel = nnx.Param(jnp.zeros((kernel, kernel, width)))
        self.bias = nnx.Param(jnp.zeros(width))

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b hh ww c"]:
        kernel, stride = self.kernel[...], self.stride
        sides = x.shape[1:3]
        height, width = (stride * (math.ceil(side / stride) - 1) + 1 for side in sides)  # from first to last position
        x = jnp.pad(x, ((0, 0), *(padding(side, len(kernel), stride) for side in sides), (0, 0)))
        total = self.bias[...]
        for row, column in np.ndindex(kernel.shape[:2]):
            shifted = x[:, row : row + height : stride, column : column + width : stride]
            total = total + shifted * kernel[row, column]
        return jax.nn.relu6(total)


class Block(nnx.Module):
    """An inverted residual: wider by 1×1, each channel by itself, narrower by 1×1; plus the input if it is as large."""

    def __init__(self, inputs: int, stage: Stage, stride: int) -> None:
        inner = inputs * stage.expand
        self.residual = stride == 1 and inputs == stage.width
        self.expand = Pointwise(inputs, inner) if stage.expand > 1 else None
        self.depthwise = Depthwise(inner, stage.kernel, stride)
        self.project = Pointwise(inner, stage.width)

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b hh ww o"]:
        inner = x if self.expand is None else jax.nn.relu6(self.expand(x))
        out: Array = self.project(self.depthwise(inner))
        return x + out if self.residual else out


class Head(Pointwise):
    """A 1×1 convolution and ReLU6."""

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b h w o"]:
        return jax.nn.relu6(super().__call__(x))


class Trunk(nnx.Module):
    """Images to feature maps. `stages` are the stem, seven stages of blocks and the head, to be run in order."""

    def __init__(self) -> None:
        stages, inputs = [nnx.Sequential(Stem(STEM))], STEM
        for stage in MIDDLE:
            blocks = []
            for number in range(stage.blocks):
                blocks.append(Block(inputs, stage, stage.stride if number == 0 else 1))
                inputs = stage.width
            stages.append(nnx.Sequential(*blocks))
        self.stages = nnx.List([*stages, nnx.Sequential(Head(inputs, HEAD))])

    def features(
        self, images: UInt8[Array, "b h w c"] | Float[Array, "b h w c"], stage: int = LAST
    ) -> Float[Array, "b hh ww o"]:
        """The feature map of a stage: WIDTHS[stage] channels, a position to each STRIDES[stage] pixels of a side.

        images: u8 in [0,255] or float in [0,1], of 1 or 3 channels and any size; sides that 32 divides fit best.
        """

        def run(images: Array) -> Array:
            x = normalised(images)
            for part in self.stages[: stage + 1]:
                x = part(x)
            return x

        count, height, width, _ = images.shape
        together = max(1, TOGETHER // (height * width))
        if count <= together or jax.default_backend() != "cpu":
            return run(images)
        maps: Array = jax.lax.map(lambda image: run(image[None])[0], images, batch_size=together)
        return maps

    def embed(self, images: UInt8[Array, "b h w c"] | Float[Array, "b h w c"]) -> Float[Array, "b d"]:
        """The mean over all positions of the last feature map, 1,280 numbers: what the original classified."""
        return self.features(images).mean(axis=(1, 2))


def normalised(images: UInt8[Array, "b h w c"] | Float[Array, "b h w c"]) -> Float[Array, "b h w 3"]:
    """Pixels as the network was trained on them; grey ones three times."""
    whole = jnp.issubdtype(images.dtype, jnp.integer)
    pixels = images.astype(jnp.float32) if whole else images * 255
    return jnp.broadcast_to((pixels - CENTRE) / SCALE, (*images.shape[:3], 3))


def load(path: Path = WEIGHTS) -> Trunk:
    """The network with its weights, f32. Raises ModelError when the file is missing or another than was shipped."""
    weights = read_trunk(path)
    graph, params = nnx.split(Trunk())
    places = [place for place, _ in nnx.to_flat_state(params)]
    pairs = [(place, nnx.Param(jnp.asarray(weights[".".join(map(str, place))]))) for place in places]
    return nnx.merge(graph, nnx.from_flat_state(pairs))
