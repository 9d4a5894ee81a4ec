"""The autoencoder, in Flax NNX: the only file that knows its layers.

Layers are chosen for XLA on a CPU: strided 3×3 convolutions down, and up again by convolution and pixel shuffle,
which trains several times faster than transposed convolutions.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from retrieval.errors import ModelError

MIN_SIDE = 8
"""Smaller images leave the convolutions nothing to look at."""
MAX_SIDE = 512

DECODER_STRIDE = 4
"""The decoder starts from a grid a quarter of the image's side, and doubles it twice."""


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """All that is needed to build the network again; goes into the model's fingerprint.

    image_size: (height, width) in pixels · channels: 1 or 3 · dim: length of the code ·
    widths: channels of the encoder's stages, each of which halves the side.
    """

    image_size: tuple[int, int]
    channels: int
    dim: int
    widths: tuple[int, ...]

    def __post_init__(self) -> None:
        if min(self.image_size) < MIN_SIDE or max(self.image_size) > MAX_SIDE:
            height, width = self.image_size
            raise ModelError(f"image size {height}×{width}: each side must be between {MIN_SIDE} and {MAX_SIDE}")
        if self.channels not in (1, 3):
            raise ModelError(f"channels = {self.channels}: must be 1 (grey) or 3 (colour)")
        if self.dim < 1 or not self.widths:
            raise ModelError(f"dim = {self.dim}, widths = {self.widths}: a code needs at least one of each")

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "ModelConfig":
        """Read a config back; raises ModelError when a field is missing, unknown or out of range."""
        try:
            fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
            return cls(**fields)
        except (TypeError, ValueError) as error:
            raise ModelError(f"not a model's config: {error}") from error


def default_widths(image_size: tuple[int, int]) -> tuple[int, ...]:
    """As many halvings as bring the shorter side to about 4: 28 and 32 take three stages, 64 four, 128 five."""
    stages = max(2, math.ceil(math.log2(min(image_size) / 4)))
    return (32, *([64] * (stages - 1)))


class Encoder(nnx.Module):
    """f32[B,H,W,C] in [0,1] → code f32[B,D]."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        inputs = (config.channels, *config.widths)
        self.convs = nnx.List(
            nnx.Conv(i, o, (3, 3), strides=2, rngs=rngs) for i, o in zip(inputs, config.widths, strict=False)
        )
        height, width = (math.ceil(side / 2 ** len(config.widths)) for side in config.image_size)
        self.dense = nnx.Linear(height * width * config.widths[-1], config.dim, rngs=rngs)

    def __call__(self, images: Float[Array, "b h w c"]) -> Float[Array, "b d"]:
        x = images
        for conv in self.convs:
            x = nnx.gelu(conv(x))
        return self.dense(x.reshape(x.shape[0], -1))


def pixel_shuffle(x: Float[Array, "b h w c"], factor: int) -> Array:
    """f32[B,H,W,C·f²] → f32[B,H·f,W·f,C] (Shi et al. 2016, arXiv 1609.05158)."""
    b, h, w, c = x.shape
    x = x.reshape(b, h, w, factor, factor, c // factor**2)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(b, h * factor, w * factor, c // factor**2)


class Decoder(nnx.Module):
    """Code f32[B,D] → logits f32[B,H,W,C]; their sigmoid is the reconstruction in [0,1]."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.image_size = config.image_size
        self.grid = tuple(math.ceil(side / DECODER_STRIDE) for side in config.image_size)
        self.dense = nnx.Linear(config.dim, math.prod(self.grid) * 16, rngs=rngs)
        self.conv1 = nnx.Conv(16, 32, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(8, 4 * config.channels, (3, 3), rngs=rngs)

    def __call__(self, codes: Float[Array, "b d"]) -> Float[Array, "b h w c"]:
        x = nnx.gelu(self.dense(codes)).reshape(codes.shape[0], *self.grid, 16)
        x = pixel_shuffle(nnx.gelu(self.conv1(x)), 2)
        x = pixel_shuffle(self.conv2(x), 2)
        height, width = self.image_size
        return x[:, :height, :width]


class Autoencoder(nnx.Module):
    """The encoder whose codes are searched, and the decoder that keeps it honest."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.encoder = Encoder(config, rngs=rngs)
        self.decoder = Decoder(config, rngs=rngs)


Params = nnx.State[Any, Any]
"""The network's weights, as NNX keeps them: a pytree."""


def build(config: ModelConfig, seed: int) -> tuple[nnx.GraphDef[Autoencoder], Params]:
    """A fresh network: its structure (static) and its weights (a pytree, initialised from the seed)."""
    graph, params = nnx.split(Autoencoder(config, rngs=nnx.Rngs(seed)), nnx.Param)
    return graph, params


def structure(config: ModelConfig) -> tuple[nnx.GraphDef[Autoencoder], Params]:
    """The same as `build` with shapes in place of weights: costs no computation."""
    graph, params = nnx.split(nnx.eval_shape(lambda: Autoencoder(config, rngs=nnx.Rngs(0))), nnx.Param)
    return graph, params


def to_flat(params: Params) -> dict[str, jax.Array]:
    """Weights by dotted name, `encoder.convs.0.kernel`."""
    return {".".join(map(str, path)): leaf[...] for path, leaf in nnx.to_flat_state(params)}


def from_flat(config: ModelConfig, flat: Mapping[str, Any]) -> tuple[nnx.GraphDef[Autoencoder], Params]:
    """Weights back into the network's structure; raises ModelError for a missing, extra or misshapen one."""
    graph, shapes = structure(config)
    named = [(".".join(map(str, path)), path, leaf) for path, leaf in nnx.to_flat_state(shapes)]
    if extra := set(flat) ^ {name for name, _, _ in named}:
        raise ModelError(f"the weights do not fit the config: {sorted(extra)[0]} is missing or not known")
    for name, _, leaf in named:
        if leaf.shape != flat[name].shape:
            raise ModelError(f"the weights do not fit the config: {name} is {flat[name].shape}, not {leaf.shape}")
    pairs = [(path, nnx.Param(jnp.asarray(flat[name]))) for name, path, _ in named]
    return graph, nnx.from_flat_state(pairs)
