"""A compact table of all points of a collection: ids, contents and embeddings in memory, thumbnails on disk."""

import tempfile
from collections.abc import Mapping, Sequence
from typing import BinaryIO

import numpy as np

from retrieval.duplicates.compare import blur
from retrieval.schema.arrays import Float, Int, UInt8
from retrieval.schema.image_shape import ImageShape
from retrieval.schema.records import CollectionMeta, Point
from retrieval.search.neighbours import CollectionTable, find_content_neighbours
from retrieval.sources import Source
from retrieval.sources.arrays import stored_entry
from retrieval.sources.read import Loaded, read_images
from retrieval.store.base import Store
from retrieval.util.reporting import ReportNote, ReportStep, ignore

SIDE = 32
"""Maximum width and height in pixels of compared thumbnails: enough to tell copies from similar images."""
CANDIDATES = 6
"""Nearest other contents that are compared with each content; of 600 copies hidden among 60,000 digits they contain
99%."""
PAGE = 1024
"""Points processed together."""


class CandidateTable(CollectionTable):
    """A row for each point, in the order of the ids. Fill it once; close it, to delete the thumbnails."""

    def __init__(self, meta: CollectionMeta, sources: Mapping[str, Source], *, by_pixels: bool) -> None:
        """by_pixels: also read thumbnails, from these sources."""
        super().__init__()
        height, width = meta.image_size
        self.shape = ImageShape(min(height, SIDE), min(width, SIDE), meta.channels)
        self.unread = 0
        self._sources, self._by_pixels = sources, by_pixels
        self._readable = bytearray()
        self._thumbnails: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`

    def fill(self, store: Store, collection: str, step: ReportStep) -> None:
        """Read the collection once."""
        total = store.count(collection)
        for page in store.scroll(collection, codes=True, page=PAGE):
            self.add(page)
            if self._by_pixels:
                self._read(page)
            step("Reading", len(self), total)

    def pair_exact_copies(self) -> Int[np.ndarray, "m 2"]:
        """Pairs of rows with the same content, enough to connect all rows of each content."""
        order = np.argsort(self.contents, kind="stable")
        equal = self.contents[order[1:]] == self.contents[order[:-1]]
        return np.stack([order[:-1][equal], order[1:][equal]], axis=1).astype(np.int64)

    def pair_candidates(
        self, store: Store, collection: str, limit: float, step: ReportStep, note: ReportNote = ignore
    ) -> tuple[Int[np.ndarray, "m 2"], Float[np.ndarray, " m"]]:
        """Pairs of rows whose contents are near each other, one row of each content, each pair once; their distances.

        limit: farther ones are left out
        note: called if the candidates come from the engine's index, with its recall
        """
        readable = self.is_readable(np.arange(len(self))) if self._by_pixels else None
        near = find_content_neighbours(
            store, collection, self, CANDIDATES, readable, lambda done, total: step("Searching", done, total), note
        )
        content, place = np.nonzero(np.isfinite(near.distances) & (near.distances <= limit))
        pairs = np.sort(near.first[np.stack([content, near.places[content, place]], axis=1)], axis=1)
        pairs, chosen = np.unique(pairs, axis=0, return_index=True)
        return pairs, near.distances[content, place][chosen]

    def is_readable(self, rows: Int[np.ndarray, " n"]) -> np.ndarray:
        """Which of the rows have a thumbnail."""
        known: np.ndarray = np.frombuffer(self._readable, np.uint8)[rows] > 0
        return known

    def read_thumbnails(self, rows: Int[np.ndarray, " n"]) -> UInt8[np.ndarray, "n h w c"]:
        """The rows' thumbnails, blurred, in [0, 255]."""
        found, size = np.empty((len(rows), *self.shape.array), np.uint8), self.shape.nbytes
        for place, row in zip(found, rows.tolist(), strict=True):
            self._thumbnails.seek(row * size)
            place[...] = np.frombuffer(self._thumbnails.read(size), np.uint8).reshape(self.shape.array)
        return found

    def close(self) -> None:
        """Delete the thumbnails."""
        self._thumbnails.close()

    def _read(self, page: Sequence[Point]) -> None:
        """Read a page's thumbnails; one that cannot be read, or has changed, is written as zeros, and counted."""
        reach = [point.payload["source"] in self._sources for point in page]
        entries = [
            stored_entry(point, self._sources[point.payload["source"]])
            for point, known in zip(page, reach, strict=True)
            if known
        ]
        read = iter(read_images(entries, self.shape))
        pixels, good = np.zeros((len(page), *self.shape.array), np.uint8), bytearray(len(page))
        for row, known in enumerate(reach):
            item = next(read) if known else None
            if isinstance(item, Loaded) and item.sha256 == page[row].payload["sha256"]:
                pixels[row], good[row] = item.image.pixels, 1
        self.unread += len(page) - sum(good)
        self._readable += good
        self._thumbnails.seek(0, 2)
        self._thumbnails.write(blur(pixels).tobytes())
