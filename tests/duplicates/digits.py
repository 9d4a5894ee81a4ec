"""Real digits, an encoder whose embeddings can be computed by hand, and collections filled by the real ingest."""

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from retrieval.config import Settings
from retrieval.images.decode import encode_png
from retrieval.ingest.job import ingest
from retrieval.model.config import ModelConfig
from retrieval.model.encoder import Encoder
from retrieval.search.run import LiveCollection
from retrieval.sources.dataset import open_dataset
from retrieval.sources.folder import Folder
from retrieval.store.base import Store, resolve

SIDE, BLOCK = 28, 4


class Blocks:
    """The embedding is the mean brightness of each block of 4×4 pixels; the decoder draws these blocks."""

    def __init__(self, channels: int = 1) -> None:
        self.config = ModelConfig((SIDE, SIDE), channels, (SIDE // BLOCK) ** 2 * channels, (8, 8), (0, 0))
        self.fingerprint = hashlib.sha256(f"blocks {channels}".encode()).hexdigest()

    def encode(self, images: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n d"]:
        n, h, w, c = images.shape
        blocks = images.reshape(n, h // BLOCK, BLOCK, w // BLOCK, BLOCK, c).mean(axis=(2, 4)) / 255
        codes: np.ndarray = blocks.reshape(n, -1).astype(np.float32)
        return codes

    def decode(self, codes: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n h w c"]:
        blocks = codes.reshape(len(codes), SIDE // BLOCK, SIDE // BLOCK, self.config.channels)
        return blocks.repeat(BLOCK, axis=1).repeat(BLOCK, axis=2).astype(np.float32)

    def unexplained_variance(
        self, images: UInt8[np.ndarray, "n h w c"], codes: Float32[np.ndarray, "n d"]
    ) -> Float32[np.ndarray, " n"]:
        """As the real one, with this decoder's images."""
        return Encoder.unexplained_variance(self, images, codes)  # type: ignore[arg-type]


@functools.cache
def digits(count: int) -> tuple[UInt8[np.ndarray, "n 28 28 1"], list[str]]:
    """The first digits of the sample in the package, and their labels; read-only."""
    source = open_dataset("mnist-sample:train", Settings(), "digits", None)
    entries = [entry for entry, _ in zip(source.entries(), range(count), strict=False)]
    pixels = np.stack([np.frombuffer(entry.read()[-SIDE * SIDE :], np.uint8) for entry in entries])
    return pixels.reshape(count, SIDE, SIDE, 1), [str(entry.label) for entry in entries]


def put(root: Path, files: Mapping[str, bytes]) -> Path:
    """Files below a folder, by their paths."""
    for key, data in files.items():
        path = root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return root


def put_digits(root: Path, count: int) -> Path:
    """The first digits as `000.png`, `001.png`, ..."""
    return put(root, {f"{n:03d}.png": encode_png(pixels) for n, pixels in enumerate(digits(count)[0])})


def filled(
    store: Store, folders: Mapping[str, Path], ledgers: Path, alias: str = "images", channels: int = 1
) -> LiveCollection:
    """The alias with all images of the folders, by their sources' names."""
    encoder = Blocks(channels)
    ingest(store, encoder, [Folder(name, root) for name, root in folders.items()], alias, ledgers=ledgers)
    collection = resolve(store, alias)
    return LiveCollection(collection, store.metadata(collection), lambda model: encoder)  # type: ignore[arg-type, return-value]
