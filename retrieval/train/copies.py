"""Distorted copies of pictures: the same random views that training makes, for measuring and for looking at."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from retrieval.train.augment import Distortion, default_distortion, views

BATCH = 256


def distorted_copies(
    images: UInt8[np.ndarray, "n h w c"], seed: int, how: Distortion | None = None
) -> UInt8[np.ndarray, "n h w c"]:
    """One random view of each image, in [0,255], by default as training would make them; the seed decides which."""
    chosen = how or default_distortion(images)
    view = jax.jit(lambda key, images: views(key, images, chosen))
    copies = np.empty_like(images)
    for start in range(0, len(images), BATCH):
        batch = images[start : start + BATCH]
        padded = np.pad(batch, [(0, BATCH - len(batch)), (0, 0), (0, 0), (0, 0)])  # one size: compiled once
        key = jax.random.fold_in(jax.random.key(seed), start)
        seen = view(key, jnp.asarray(padded, jnp.float32) / 255)
        copies[start : start + len(batch)] = np.rint(np.asarray(seen) * 255)[: len(batch)]
    return copies
