"""A sample of the new collection's images, read again from their sources, and distorted copies of them as queries."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int, UInt8

from retrieval.images.decode import decode, encode_png
from retrieval.model.config import ModelConfig
from retrieval.model.encoder_process import ImageEncoder
from retrieval.schema.image_shape import ImageShape
from retrieval.schema.records import Point, codes_of
from retrieval.sources import Source
from retrieval.sources.arrays import read_image_array, stored_entry
from retrieval.store.base import Store
from retrieval.train.augment import distorted_copies

SIZE = 2000
"""Points of the sample: enough to measure a share to within about 0.01."""
PIXEL_BYTES = 256 * 2**20
"""Maximum size of the sample's pixels; of large images it has fewer."""
VIEWS = 8
"""Maximum number of copies of each image, if there are few images."""
SEED = 0


class SamplePixels(NamedTuple):
    """The pixels of the images that could be read, in [0, 255], and the rows of their points in the sample."""

    rows: Int[np.ndarray, " n"]
    pixels: UInt8[np.ndarray, "n h w c"]


class Copies(NamedTuple):
    """Distorted copies, in [0, 255], and the SHA-256 of each one's original."""

    pixels: UInt8[np.ndarray, "n h w c"]
    contents: list[str]


@dataclass(frozen=True)
class GateSample:
    """A sample of the candidate's points with their embeddings: the first by id, which is random since ids are hashes.

    shared: those whose image the live collection holds too
    """

    points: Sequence[Point]
    shared: Sequence[Point]
    sources: Sequence[Source]

    @classmethod
    def of(cls, store: Store, candidate: str, live: str, sources: Sequence[Source]) -> "GateSample":
        """Read the sample from the store."""
        points = next(store.scroll(candidate, codes=True, page=SIZE), [])
        theirs = store.retrieve(live, [point.id for point in points])
        same = [p for p in points if p.id in theirs and theirs[p.id].payload["sha256"] == p.payload["sha256"]]
        return cls(points, same, sources)

    @functools.cached_property
    def codes(self) -> Float32[np.ndarray, "n d"]:
        """The embeddings as stored."""
        return codes_of(self.points)

    def read(self, config: ModelConfig) -> SamplePixels:
        """Read the images in a model's size; images that are gone or have changed since are left out."""
        return self._read(self.points, config.shape)

    def make_copies(self, *configs: ModelConfig) -> Copies:
        """Distorted copies of the shared images, in the largest size and number of channels of the models.

        The images are stretched or cropped as the first model takes them.
        """
        height, width, channels = (max(sides) for sides in zip(*(c.shape.array for c in configs), strict=True))
        rows, pixels = self._read(self.shared, ImageShape(height, width, channels, configs[0].fit))
        views = max(1, min(VIEWS, SIZE // max(1, len(rows))))
        contents = [str(self.shared[row].payload["sha256"]) for row in rows.tolist()]
        many = [distorted_copies(pixels, SEED + view) for view in range(views)] if len(rows) else [pixels]
        return Copies(np.concatenate(many), contents * views)

    def _read(self, points: Sequence[Point], shape: ImageShape) -> SamplePixels:
        by_name = {source.name: source for source in self.sources}
        most = max(1, PIXEL_BYTES // shape.nbytes)
        known = [(row, point) for row, point in enumerate(points[:most]) if point.payload["source"] in by_name]
        found = read_image_array([stored_entry(point, by_name[point.payload["source"]]) for _, point in known], shape)
        same = [known[row][1].payload["sha256"] == sha for row, sha in zip(found.rows, found.contents, strict=True)]
        rows = np.array([row for row, _ in known], np.int64)[found.rows]
        return SamplePixels(rows[same], found.images[same])


def measure_copies_found(store: Store, collection: str, encoder: ImageEncoder, copies: Copies, k: int) -> float | None:
    """Share of the copies that find their original among the k nearest; None if there are no copies."""
    if not copies.contents:
        return None
    config = encoder.config
    pixels = copies.pixels
    if pixels.shape[1:] != config.shape.array:  # resize as if it were a file
        pictures = [decode(encode_png(copy), "copy", config.shape) for copy in pixels]
        pixels = np.stack([picture.pixels for picture in pictures])
    hits = store.query(collection, encoder.encode(pixels), k)
    found = [any(h.payload["sha256"] == sha for h in some) for some, sha in zip(hits, copies.contents, strict=True)]
    return float(np.mean(found))
