"""Images to embeddings and back with a trained model. Compiled once per batch size; compiled code is cached on disk."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.experimental.compilation_cache import compilation_cache
from jaxtyping import Array, Float, Float32, UInt8

from retrieval.model.autoencoder import fold_batch_norm, from_flat
from retrieval.model.base_encoder import BaseEncoder
from retrieval.model.saved_models import SavedModel

BATCH_SIZES = (1, 8, 64)
"""Batches are padded to one of these sizes, so that each is compiled once and then found in the cache.

One thread per processor encodes 64 images at a time: 1.5 times as fast as larger batches on all processors together.
"""

Rows = np.ndarray


def use_compilation_cache(folder: Path) -> None:
    """Cache every compiled function on disk, so that later processes start without compiling."""
    compilation_cache.reset_cache()  # else JAX keeps the folder of the process's first compilation, which may be gone
    settings = {
        "jax_compilation_cache_dir": str(folder),
        "jax_persistent_cache_min_compile_time_secs": 0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
        "jax_persistent_cache_enable_xla_caches": "none",  # these would make a moved folder useless
    }
    for name, value in settings.items():
        jax.config.update(name, value)


class Encoder(BaseEncoder):
    """A saved model, run by JAX."""

    def __init__(self, model: SavedModel) -> None:
        """Raises ModelError for weights that do not fit the config."""
        super().__init__(model.config, model.fingerprint)
        graph, params = fold_batch_norm(*from_flat(model.config, model.weights))
        self._weights, tree = jax.tree.flatten(params)  # a list: JAX flattens NNX's own tree slowly, at each call

        @jax.jit
        def encode(weights: list[Array], images: Array) -> Array:
            return nnx.merge(graph, jax.tree.unflatten(tree, weights)).encoder(images.astype(jnp.float32) / 255)

        @jax.jit
        def decode(weights: list[Array], codes: Array) -> Array:
            return jax.nn.sigmoid(nnx.merge(graph, jax.tree.unflatten(tree, weights)).decoder(codes))

        self._jit_encode, self._jit_decode = encode, decode
        self._threads = ThreadPoolExecutor(os.cpu_count(), "encode")

    def _encode(self, images: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n d"]:
        batches = self._threads.map(self._batch, split_batches(images))
        return np.concatenate([np.empty((0, self.config.dim), np.float32), *batches])

    def _batch(self, images: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n d"]:
        return np.asarray(self._jit_encode(self._weights, pad_batch(images)))[: len(images)]

    def decode(self, codes: Float[np.ndarray, "n d"]) -> Float32[np.ndarray, "n h w c"]:
        parts = [
            np.asarray(self._jit_decode(self._weights, pad_batch(part)))[: len(part)] for part in split_batches(codes)
        ]
        return np.concatenate([np.empty((0, *self.config.picture, self.config.channels), np.float32), *parts])

    def warm_up(self) -> None:
        """Compile for every size of batch."""
        for number in BATCH_SIZES:
            self.encode(np.zeros((number, *self.config.shape.array), np.uint8))
        self.decode(np.zeros((1, self.config.dim), np.float32))


def split_batches(rows: Rows) -> list[Rows]:
    """Split rows into batches of the largest of BATCH_SIZES; the last may be smaller."""
    return [rows[start : start + BATCH_SIZES[-1]] for start in range(0, len(rows), BATCH_SIZES[-1])]


def pad_batch(rows: Rows) -> Rows:
    """Pad rows with zeros to the next of BATCH_SIZES."""
    size = next(s for s in BATCH_SIZES if s >= len(rows))
    return np.pad(rows, [(0, size - len(rows)), *[(0, 0)] * (rows.ndim - 1)]) if size > len(rows) else rows
