"""Embeddings for a collection of any size: images of MNIST, randomly distorted again and again, and encoded."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from retrieval.config import Settings
from retrieval.images.decode import decode
from retrieval.model.resolve import load_model, make_encoder
from retrieval.schema.image_shape import ImageShape
from retrieval.sources import open_source
from retrieval.train.augment import DRAWN, make_views

BATCH = 1000


def scale_codes(settings: Settings, count: int, queries: int, file: Path) -> Float32[np.ndarray, "n d"]:
    """Embeddings of `count` views of training images, then of `queries` views of test images; cached in the file."""
    if file.exists():
        return np.load(file, mmap_mode="r")  # type: ignore[no-any-return]
    encoder = make_encoder(settings, load_model(settings, None))
    view = jax.jit(lambda key, images: make_views(key, images / 255.0, DRAWN))
    codes = np.empty((count + queries, encoder.config.dim), np.float32)
    for name, first, last in (("mnist:train", 0, count), ("mnist:test", count, count + queries)):
        entries = open_source(name, settings).entries()
        pixels = np.stack([decode(e.read(), e.key, ImageShape(28, 28, 1)).pixels for e in entries])
        for start in range(first, last, BATCH):
            rows = np.arange(start, min(start + BATCH, last)) % len(pixels)
            seen = view(jax.random.key(start), jnp.asarray(pixels[rows], jnp.float32))
            codes[start : start + len(rows)] = encoder.encode(np.asarray(jnp.rint(seen * 255), np.uint8))
    np.save(file, codes)
    return codes
