"""The autoencoder, in Flax NNX. Its code, the encoder's output, is the embedding that is searched.

The layers are chosen for XLA on a CPU (docs/decisions/0006). The encoder reduces the resolution with matrix products,
because the gradient of a strided convolution is slow there. The decoder increases it with convolutions and pixel
shuffle, which train several times faster than transposed convolutions.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from retrieval.errors import ModelError
from retrieval.model.config import ModelConfig

if TYPE_CHECKING:
    from retrieval.model.trunk_encoder import TrunkEncoder

DECODER_STRIDE = 4
"""The decoder starts from a grid of a quarter of the image's height and width, and doubles it twice."""


def stage_count(image_size: tuple[int, int]) -> int:
    """Number of encoder stages, each of which halves the resolution, to bring the shorter side to about 4 pixels.

    Sides of 28 and 32 take three stages, 64 four, 128 five.

    image_size: (height, width) in pixels
    """
    return max(2, math.ceil(math.log2(min(image_size) / 4)))


class NormedLayer(nnx.Module):
    """A layer without bias, then batch normalisation (Ioffe & Szegedy 2015, arXiv 1502.03167) and ReLU.

    Training uses the batch's own statistics. Momentum is 0, so the stored ones are those of the last batch; after
    training, `recompute_batch_stats` replaces them.
    """

    def __init__(self, layer: nnx.Conv | nnx.Linear, width: int, *, rngs: nnx.Rngs) -> None:
        self.layer = layer
        self.norm: nnx.BatchNorm | Offset = nnx.BatchNorm(width, momentum=0.0, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b hh ww o"]:
        out: Array = nnx.relu(self.norm(self.layer(x)))
        return out

    def fold(self) -> None:
        """Fold the normalisation into the layer's weights: the same function in evaluation mode, and faster."""
        norm = self.norm
        assert isinstance(norm, nnx.BatchNorm)
        scale, bias, mean, var = (np.asarray(p[...]) for p in (norm.scale, norm.bias, norm.mean, norm.var))  # type: ignore[index]
        factor = scale / np.sqrt(var + norm.epsilon)
        self.layer.kernel = nnx.Param(np.asarray(self.layer.kernel[...]) * factor)  # the outputs are its last axis
        self.norm = Offset(bias - mean * factor)


class Offset(nnx.Module):
    """Adds a constant to each channel."""

    def __init__(self, value: np.ndarray) -> None:
        self.value = nnx.Param(value)

    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        out: Array = x + self.value[...]
        return out


class PatchMerging(nnx.Module):
    """Halves the resolution: each 2×2 block of pixels becomes one, by a matrix product."""

    def __init__(self, inputs: int, width: int, *, rngs: nnx.Rngs) -> None:
        self.normed = NormedLayer(nnx.Linear(4 * inputs, width, use_bias=False, rngs=rngs), width, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b hh ww o"]:
        return self.normed(pixel_unshuffle(x))


class BlockStem(nnx.Module):
    """Reduces the resolution to a quarter: blocks of 4×4 pixels become channels, then a 2×2 convolution of the blocks.

    Two stages in one: at half of 64×64 pixels, they took half of a training step (docs/decisions/0026).
    """

    def __init__(self, inputs: int, width: int, *, rngs: nnx.Rngs) -> None:
        conv = nnx.Conv(16 * inputs, width, (2, 2), use_bias=False, rngs=rngs)
        self.normed = NormedLayer(conv, width, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w i"]) -> Float[Array, "b hh ww o"]:
        return self.normed(pixel_unshuffle(pixel_unshuffle(x)))


class Residual(nnx.Module):
    """A residual block: x plus a normalised 3×3 convolution of x."""

    def __init__(self, width: int, *, rngs: nnx.Rngs) -> None:
        self.normed = NormedLayer(nnx.Conv(width, width, (3, 3), use_bias=False, rngs=rngs), width, rngs=rngs)

    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        return x + self.normed(x)


class ConvEncoder(nnx.Module):
    """Images f32[B,H,W,C] in [0, 1] → embeddings f32[B,D] of length 1; distances lie in [0, 2].

    The first and the last stage are strided 3×3 convolutions: the first needs no gradient for its input, and the last
    is small. With `stem` 4 the first is a `BlockStem`.
    """

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        layers: list[nnx.Module] = []
        inputs, sides = config.channels, list(config.image_size)
        for stage, (width, blocks) in enumerate(zip(config.widths, config.blocks, strict=True), start=1):
            if stage == 1 and config.stem == 4:
                layers.append(BlockStem(inputs, width, rngs=rngs))
                sides = [math.ceil(math.ceil(side / 2) / 2) for side in sides]
            elif stage in (1, len(config.widths)):
                # pad even sides by one pixel; odd ones need no padding: 7 becomes 3, half the work of 4
                padding = tuple((0, 1 - side % 2) for side in sides)
                conv = nnx.Conv(inputs, width, (3, 3), 2, padding=padding, use_bias=False, rngs=rngs)
                layers.append(NormedLayer(conv, width, rngs=rngs))
                sides = [side // 2 for side in sides]
            else:
                layers.append(PatchMerging(inputs, width, rngs=rngs))
                sides = [math.ceil(side / 2) for side in sides]
            layers += [Residual(width, rngs=rngs) for _ in range(blocks)]
            inputs = width
        self.layers = nnx.List(layers)
        self.dense = nnx.Linear(math.prod(sides) * inputs, config.dim, rngs=rngs)

    def __call__(self, images: Float[Array, "b h w c"]) -> Float[Array, "b d"]:
        return normalize(self.features(images))

    def features(self, images: Float[Array, "b h w c"]) -> Float[Array, "b d"]:
        """The embedding before it is normalised; the training loss is computed on it."""
        for layer in self.layers:
            images = layer(images)
        return self.dense(images.reshape(images.shape[0], -1))


def normalize(x: Float[Array, "b d"]) -> Float[Array, "b d"]:
    """Scale each row to length 1; zero stays zero."""
    return x * jax.lax.rsqrt(jnp.sum(x**2, axis=-1, keepdims=True) + 1e-12)


def pixel_unshuffle(x: Float[Array, "b h w c"]) -> Float[Array, "b hh ww d"]:
    """f32[B,H,W,C] → f32[B,⌈H/2⌉,⌈W/2⌉,4·C]: blocks of 2×2 pixels become channels; odd sides are padded with zeros."""
    x = jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)))
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5).reshape(b, h // 2, w // 2, 4 * c)


def pixel_shuffle(x: Float[Array, "b h w c"], factor: int) -> Array:
    """f32[B,H,W,C·f²] → f32[B,H·f,W·f,C] (Shi et al. 2016, arXiv 1609.05158)."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, factor, factor, c // factor**2)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h * factor, w * factor, c // factor**2)


class ConvDecoder(nnx.Module):
    """Embeddings f32[B,D] → logits f32[B,H,W,C]; their sigmoid is the reconstruction in [0, 1].

    `turn_back` is the inverse of the whitening transform that embeddings get after training.
    """

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.picture = config.picture
        self.grid = tuple(math.ceil(side / DECODER_STRIDE) for side in config.picture)
        self.turn_back = nnx.BatchStat(jnp.eye(config.dim))
        self.dense = nnx.Linear(config.dim, math.prod(self.grid) * 16, rngs=rngs)
        self.conv1 = nnx.Conv(16, 32, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(8, 4 * config.channels, (3, 3), rngs=rngs)

    def __call__(self, codes: Float[Array, "b d"]) -> Float[Array, "b h w c"]:
        x = normalize(codes @ self.turn_back[...]) * math.sqrt(codes.shape[1])
        x = nnx.gelu(self.dense(x)).reshape(codes.shape[0], *self.grid, 16)
        x = pixel_shuffle(nnx.gelu(self.conv1(x)), 2)
        height, width = self.picture
        return pixel_shuffle(self.conv2(x), 2)[:, :height, :width]


class Autoencoder(nnx.Module):
    """The encoder, whose embeddings are searched, and the decoder, which training and reconstructions need."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.encoder = make_encoder(config, rngs=rngs)
        self.decoder = ConvDecoder(config, rngs=rngs)


def make_encoder(config: ModelConfig, *, rngs: nnx.Rngs) -> "ConvEncoder | TrunkEncoder":
    """The encoder that the config describes; the trunk's module is imported only for a model that stands on it."""
    if config.trunk is None:
        return ConvEncoder(config, rngs=rngs)
    from retrieval.model.trunk_encoder import TrunkEncoder

    return TrunkEncoder(config, rngs=rngs)


Params = nnx.State[Any, Any]
"""The network's weights and batch statistics, an NNX pytree."""
TRUNK_PATH = ("encoder", "trunk")
"""Where the trunk's weights are among a model's; they come with the package, and are not saved with the model."""


def build(config: ModelConfig, seed: int) -> tuple[nnx.GraphDef[Autoencoder], Params]:
    """A new network in evaluation mode: its graph definition (static), and weights initialised from the seed."""
    model = Autoencoder(config, rngs=nnx.Rngs(seed))
    model.eval()
    return nnx.split(model)


def abstract_state(config: ModelConfig) -> tuple[nnx.GraphDef[Autoencoder], Params]:
    """As `build`, with shapes instead of weights; computes nothing."""
    return nnx.eval_shape(lambda: build(config, 0))


def to_flat(params: Params) -> dict[str, jax.Array]:
    """Weights by dotted name, as `encoder.layers.0.layer.kernel`, without the trunk's."""
    flat = nnx.to_flat_state(params)
    return {".".join(map(str, path)): leaf[...] for path, leaf in flat if path[:2] != TRUNK_PATH}


def from_flat(config: ModelConfig, flat: Mapping[str, Any]) -> tuple[nnx.GraphDef[Autoencoder], Params]:
    """The inverse of `to_flat`; raises ModelError for a weight that is missing, unknown or of another shape.

    The trunk's weights are read from the package; raises ModelError when they are missing or damaged.
    """
    graph, shapes = abstract_state(config)
    named = [
        (".".join(map(str, path)), path, leaf) for path, leaf in nnx.to_flat_state(shapes) if path[:2] != TRUNK_PATH
    ]
    if extra := set(flat) ^ {name for name, _, _ in named}:
        raise ModelError(
            f"the weights do not fit the config: {sorted(extra)[0]} is missing or not known",
            hint="train again",
        )
    for name, _, leaf in named:
        if leaf.shape != flat[name].shape:
            raise ModelError(
                f"the weights do not fit the config: {name} is {flat[name].shape}, not {leaf.shape}",
                hint="train again",
            )
    pairs = [(path, nnx.Param(jnp.asarray(flat[name]))) for name, path, _ in named]
    if config.trunk:
        from retrieval.model import trunk

        pairs += [((*TRUNK_PATH, *path), leaf) for path, leaf in nnx.to_flat_state(nnx.state(trunk.load()))]
    return graph, nnx.from_flat_state(pairs)


def fold_batch_norm(graph: nnx.GraphDef[Autoencoder], params: Params) -> tuple[nnx.GraphDef[Autoencoder], Params]:
    """The same network for encoding only, with batch normalisation folded into the layers' weights."""
    model = nnx.merge(graph, params)
    for _, module in nnx.iter_modules(model.encoder):
        if isinstance(module, NormedLayer):
            module.fold()
    return nnx.split(model)
