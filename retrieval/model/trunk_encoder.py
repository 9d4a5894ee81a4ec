"""The encoder of a model that stands on the trunk: two of its feature maps, averaged, then one linear layer."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt8

from retrieval.model.autoencoder import normalize
from retrieval.model.config import ModelConfig
from retrieval.model.trunk import LAST, WIDTHS, Trunk

STAGE = LAST - 1
POOLED = WIDTHS[STAGE] + WIDTHS[LAST]
"""Numbers that the linear layer gets of an image: 320 and 1,280."""


class TrunkEncoder(nnx.Module):
    """Images [B,H,W,3], u8 in [0, 255] or f32 in [0, 1] → embeddings f32[B,D] of length 1; distances lie in [0, 2]."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.trunk = Trunk()
        self.dense = nnx.Linear(POOLED, config.dim, rngs=rngs)

    def __call__(self, images: UInt8[Array, "b h w 3"] | Float[Array, "b h w 3"]) -> Float[Array, "b d"]:
        return normalize(self.features(images))

    def features(self, images: UInt8[Array, "b h w 3"] | Float[Array, "b h w 3"]) -> Float[Array, "b d"]:
        """The embedding before it is normalised."""
        features: Array = self.dense(pooled(self.trunk, images))
        return features


def pooled(trunk: Trunk, images: UInt8[Array, "b h w 3"] | Float[Array, "b h w 3"]) -> Float[Array, "b p"]:
    """The means of the last two feature maps, each of length 1, side by side: POOLED numbers."""
    last = trunk.features(images, STAGE)
    maps = (last, trunk.stages[LAST](last))
    return jnp.concatenate([normalize(each.mean(axis=(1, 2))) for each in maps], axis=-1)
