"""Images to embeddings and back with a trained model. Compiled once per batch size; compiled code is cached on disk."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Float32, UInt8

from retrieval.errors import BadCode, ModelError
from retrieval.images.reduce import block_means
from retrieval.model.autoencoder import fold_batch_norm, from_flat
from retrieval.model.config import ModelConfig
from retrieval.model.saved_models import SavedModel

BATCH_SIZES = (1, 8, 64)
"""Batches are padded to one of these sizes, so that each is compiled once and then found in the cache.

One thread per processor encodes 64 images at a time: 1.5 times as fast as larger batches on all processors together.
"""

VARIANCE_OFFSET = 1e-3
"""Added to an image's variance (pixels in [0, 1]), so that a nearly blank image has no huge relative error."""

Rows = np.ndarray


def use_compilation_cache(folder: Path) -> None:
    """Cache every compiled function on disk, so that later processes start without compiling."""
    settings = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
        "jax_persistent_cache_enable_xla_caches": "none",  # these would make a moved folder useless
    }
    for name, value in settings.items():
        jax.config.update(name, value)


class Encoder:
    """A model that is ready to encode and decode; may be used by several threads."""

    def __init__(self, model: SavedModel) -> None:
        self.config = model.config
        self.fingerprint = model.fingerprint
        graph, params = fold_batch_norm(*from_flat(model.config, model.weights))
        self._weights, tree = jax.tree.flatten(params)  # a list: JAX flattens NNX's own tree slowly, at each call

        @jax.jit
        def encode(weights: list[Array], images: Array) -> Array:
            return nnx.merge(graph, jax.tree.unflatten(tree, weights)).encoder(images.astype(jnp.float32) / 255)

        @jax.jit
        def decode(weights: list[Array], codes: Array) -> Array:
            return jax.nn.sigmoid(nnx.merge(graph, jax.tree.unflatten(tree, weights)).decoder(codes))

        self._encode, self._decode = encode, decode
        self._threads = ThreadPoolExecutor(os.cpu_count(), "encode")

    def encode(self, images: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n d"]:
        """Embeddings f32[n, D] of length 1 of images u8[n, h, w, c] in [0, 255].

        Raises ModelError for images of another size, BadCode when an embedding is not finite.
        """
        expected = self.config.shape.array
        if images.shape[1:] != expected:
            given, takes = ("×".join(map(str, shape)) for shape in (images.shape[1:], expected))
            raise ModelError(
                f"images are {given}, but model {self.fingerprint[:8]} takes {takes}",
                hint="read them at its size",
            )
        batches = split_batches(images)
        codes = np.concatenate([np.empty((0, self.config.dim), np.float32), *self._threads.map(self._batch, batches)])
        if not np.isfinite(codes).all():
            raise BadCode(f"model {self.fingerprint[:8]} gives embeddings that are not finite", hint="train again")
        return codes

    def _batch(self, images: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n d"]:
        return np.asarray(self._encode(self._weights, pad_batch(images)))[: len(images)]

    def decode(self, codes: Float[np.ndarray, "n d"]) -> Float32[np.ndarray, "n h w c"]:
        """What the decoder makes of the codes, in [0,1]: images of `config.picture` pixels."""
        parts = [np.asarray(self._decode(self._weights, pad_batch(part)))[: len(part)] for part in split_batches(codes)]
        return np.concatenate([np.empty((0, *self.config.picture, self.config.channels), np.float32), *parts])

    def unexplained_variance(
        self, images: UInt8[np.ndarray, "n h w c"], codes: Float[np.ndarray, "n d"]
    ) -> Float32[np.ndarray, " n"]:
        """Share of each image's variance that its reconstruction misses; 0 is perfect, 1 as bad as its mean grey.

        images: u8[n, h, w, c] in [0, 255]
        codes: their embeddings
        """
        clean = as_drawn(self.config, images).astype(np.float32) / 255
        error = ((self.decode(codes) - clean) ** 2).mean(axis=(1, 2, 3))
        return np.asarray(error / (clean.var(axis=(1, 2, 3)) + VARIANCE_OFFSET), np.float32)


def as_drawn(config: ModelConfig, images: UInt8[np.ndarray, "n h w c"]) -> UInt8[np.ndarray, "n hh ww c"]:
    """Images of a model's size at the size that its decoder draws."""
    return block_means(images, config.image_size[0] // config.picture[0])


def split_batches(rows: Rows) -> list[Rows]:
    """Split rows into batches of the largest of BATCH_SIZES; the last may be smaller."""
    return [rows[start : start + BATCH_SIZES[-1]] for start in range(0, len(rows), BATCH_SIZES[-1])]


def pad_batch(rows: Rows) -> Rows:
    """Pad rows with zeros to the next of BATCH_SIZES."""
    size = next(s for s in BATCH_SIZES if s >= len(rows))
    return np.pad(rows, [(0, size - len(rows)), *[(0, 0)] * (rows.ndim - 1)]) if size > len(rows) else rows
