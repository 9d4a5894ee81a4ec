"""Small unlabelled images for training in seconds, a full disk, and a run that a test can kill."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from retrieval.model.config import ModelConfig
from retrieval.sources import Entry
from retrieval.train import loop
from retrieval.train.loop import Progress, train
from retrieval.train.recipe import Recipe
from tests import compiled

SIDE = 12
OFTEN = 3
"""Steps in a round, and between two reports."""
CONFIG = ModelConfig((SIDE, SIDE), 1, 4, (8, 8), (0, 0))


def blobs(n: int = 96, side: int = SIDE, channels: int = 1, seed: int = 0) -> UInt8[np.ndarray, "n h w c"]:
    """One soft spot per image, at a place, of a width and of a colour that differ from image to image."""
    rng = np.random.default_rng(seed)
    row, column = np.mgrid[:side, :side]
    images = np.empty((n, side, side, channels), np.uint8)
    for image in images:
        (y, x), width = rng.uniform(2, side - 2, 2), rng.uniform(1, 3)
        spot = np.exp(-((row - y) ** 2 + (column - x) ** 2) / (2 * width**2))
        image[:] = (spot[..., None] * rng.uniform(128, 255, channels)).astype(np.uint8)
    return images


def recipe(epochs: int = 4, seed: int = 0) -> Recipe:
    return Recipe(CONFIG, epochs, seed, batch=32)


def entry(key: str, data: bytes) -> Entry:
    return Entry("test", key, len(data), 0, None, lambda: data)


@contextmanager
def file_size_limit(limit: int) -> Iterator[None]:
    """Writing more than `limit` bytes to a file fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def train_but_never_finish(checkpoints: Path, xla_cache: Path) -> None:
    """Train as a process of its own that stops at the last step and waits there to be killed."""

    def report(progress: Progress) -> None:
        if progress.done >= 1:
            sys.stdin.read()

    compiled.share(xla_cache)
    loop.ROUND_STEPS = loop.REPORT_STEPS = OFTEN
    train(blobs(), recipe(), checkpoints, report)


def losses(batch: int) -> list[float]:
    """Of a run's rounds, with all devices that there are."""
    loop.ROUND_STEPS = loop.REPORT_STEPS = OFTEN
    return [line["loss"] for line in train(blobs(), replace(recipe(), batch=batch)).history]


if __name__ == "__main__":
    train_but_never_finish(Path(sys.argv[1]), Path(sys.argv[2]))
