"""A compact table of all points of a collection: ids, contents and candidates in memory, thumbnails on disk.

Rows are in the order of the ids, so a point's row is found from the first eight bytes of its id.
"""

import tempfile
from array import array
from collections.abc import Mapping, Sequence
from typing import BinaryIO
from uuid import UUID

import numpy as np
from jaxtyping import Int, UInt8

from retrieval.duplicates.compare import blur
from retrieval.schema.filters import Filter, Match
from retrieval.schema.image_shape import ImageShape
from retrieval.schema.records import CollectionMeta, Hit, Point, codes_of
from retrieval.sources import Source
from retrieval.sources.arrays import stored_entry
from retrieval.sources.read import Loaded, read_images
from retrieval.store.base import Store
from retrieval.util.reporting import ReportCount

SIDE = 32
"""Maximum width and height in pixels of compared thumbnails: enough to tell copies from similar images."""
CANDIDATES = 6
"""Nearest points of other content that are compared with each point; of 600 copies hidden among 60,000 digits they
contain 99%."""
TWIN = 1e-6
"""Maximum distance between embeddings of exact copies; only rounding makes it more than 0."""
PAGE = 1024
"""Points processed together."""


class CandidateTable:
    """A row for each point. Fill it once; close it, to delete the thumbnails."""

    def __init__(self, meta: CollectionMeta, sources: Mapping[str, Source], *, by_pixels: bool) -> None:
        """by_pixels: also read thumbnails, from these sources."""
        height, width = meta.image_size
        self.shape = ImageShape(min(height, SIDE), min(width, SIDE), meta.channels)
        self.unread = 0
        self._sources, self._by_pixels = sources, by_pixels
        self._ids, self._contents = array("Q"), array("Q")
        self._first, self._second, self._distances = array("Q"), array("Q"), array("f")
        self._readable = bytearray()
        self._thumbnails: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`

    def fill(self, store: Store, collection: str, limit: float, report: ReportCount) -> None:
        """Read the collection once. Candidates farther than `limit` are left out."""
        total = store.count(collection)
        for page in store.scroll(collection, codes=True, page=PAGE):
            start = len(self)
            marks = [UUID(point.id).int for point in page]
            for mark, point in zip(marks, page, strict=True):
                self._ids.extend((mark >> 64, mark & 2**64 - 1))
                self._contents.append(int(str(point.payload["sha256"])[:16] or "0", 16))
            for row, (point, hits) in enumerate(
                zip(page, find_candidates(store, collection, page), strict=True), start
            ):
                for hit in hits:
                    if hit.id != point.id and hit.distance <= limit:
                        self._first.append(row)
                        self._second.append(UUID(hit.id).int >> 64)
                        self._distances.append(hit.distance)
            if self._by_pixels:
                self._read(page)
            report(len(self), total)

    def __len__(self) -> int:
        return len(self._contents)

    def id_of(self, row: int) -> str:
        """The id of the row's point."""
        return str(UUID(int=self._ids[2 * row] << 64 | self._ids[2 * row + 1]))

    def pair_exact_copies(self) -> Int[np.ndarray, "m 2"]:
        """Pairs of rows with the same content, enough to connect all rows of each content."""
        contents = np.frombuffer(self._contents, np.uint64)
        order = np.argsort(contents, kind="stable")
        equal = contents[order[1:]] == contents[order[:-1]]
        return np.stack([order[:-1][equal], order[1:][equal]], axis=1).astype(np.int64)

    def pair_candidates(self) -> tuple[Int[np.ndarray, "m 2"], np.ndarray]:
        """Pairs of rows with different content, each pair once, and their distances."""
        ids = np.frombuffer(self._ids, np.uint64)[::2]
        wanted = np.frombuffer(self._second, np.uint64) if self._second else np.empty(0, np.uint64)
        first = np.frombuffer(self._first, np.uint64) if self._first else np.empty(0, np.uint64)
        rows = np.searchsorted(ids, wanted).astype(np.uint64)
        here = (rows < len(ids)) & (ids[np.minimum(rows, len(ids) - 1)] == wanted) if len(ids) else rows < 0
        first, rows = first[here], rows[here]
        keys, place = np.unique(np.minimum(first, rows) << 32 | np.maximum(first, rows), return_index=True)
        pairs = np.stack([keys >> 32, keys & 2**32 - 1], axis=1).astype(np.int64)
        contents = np.frombuffer(self._contents, np.uint64)
        differ = contents[pairs[:, 0]] != contents[pairs[:, 1]] if len(pairs) else np.empty(0, bool)
        return pairs[differ], np.array(self._distances, np.float32)[here][place][differ]

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


def find_candidates(store: Store, collection: str, page: Sequence[Point]) -> list[list[Hit]]:
    """Each point's nearest points, which may include itself.

    If exact copies crowd out other points, a second query leaves the copies out, which takes longer.
    """
    codes = codes_of(page)
    answers = store.query(collection, codes, CANDIDATES + 1, payload=False)
    crowded = [row for row, hits in enumerate(answers) if sum(hit.distance <= TWIN for hit in hits) > 1]
    if crowded:
        others = [Filter(must_not=(Match("sha256", (page[row].payload["sha256"],)),)) for row in crowded]
        for row, hits in zip(
            crowded, store.query(collection, codes[crowded], CANDIDATES, others, payload=False), strict=True
        ):
            answers[row] = hits
    return answers
