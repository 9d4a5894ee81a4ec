"""The encoder of a model that stands on the trunk: its last two feature maps, averaged, and a head on them."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, UInt8

from retrieval.model.autoencoder import normalize
from retrieval.model.config import ModelConfig
from retrieval.model.trunk import Trunk
from retrieval.model.trunk_weights import HIDDEN, LAST, POOLED

STAGE = LAST - 1


class TrunkEncoder(nnx.Module):
    """Images [B,H,W,3], u8 in [0, 255] or f32 in [0, 1] → embeddings f32[B,D] of length 1; distances lie in [0, 2].

    A linear layer and, added to it, a network of one hidden layer, which does nothing until it is trained.
    """

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs) -> None:
        self.trunk = Trunk()
        self.dense = nnx.Linear(POOLED, config.dim, rngs=rngs)
        self.hidden = nnx.Linear(POOLED, HIDDEN, rngs=rngs)
        self.added = nnx.Linear(
            HIDDEN, config.dim, use_bias=False, kernel_init=nnx.initializers.zeros_init(), rngs=rngs
        )

    def __call__(self, images: UInt8[Array, "b h w 3"] | Float[Array, "b h w 3"]) -> Float[Array, "b d"]:
        return normalize(self.features(images))

    def features(self, images: UInt8[Array, "b h w 3"] | Float[Array, "b h w 3"]) -> Float[Array, "b d"]:
        """The embedding before it is normalised."""
        return self.project(pooled(self.trunk, images))

    def project(self, numbers: Float[Array, "b p"]) -> Float[Array, "b d"]:
        """As `features`, from `pooled` images."""
        features: Array = self.dense(numbers) + self.added(nnx.gelu(self.hidden(numbers)))
        return features


def pooled(trunk: Trunk, images: UInt8[Array, "b h w 3"] | Float[Array, "b h w 3"]) -> Float[Array, "b p"]:
    """POOLED numbers: the means of each quarter of the last feature map but one, and of the whole last feature map.

    The quarters say where in the image something is; they overlap where a side has an odd number of positions.
    Each of the two parts has length 1.
    """
    quartered = trunk.features(images, STAGE)
    whole = trunk.stages[LAST](quartered)
    height, width = (-(-side // 2) for side in quartered.shape[1:3])
    quarters = [
        quartered[:, rows, columns].mean(axis=(1, 2))
        for rows in (slice(height), slice(-height, None))
        for columns in (slice(width), slice(-width, None))
    ]
    return jnp.concatenate([normalize(jnp.concatenate(quarters, axis=-1)), normalize(whole.mean(axis=(1, 2)))], axis=-1)
