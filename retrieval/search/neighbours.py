"""The nearest other contents of every image of a collection, for the jobs that look at all of it.

Embeddings are read from the engine once and compared by matrix products, which takes a tenth of the time of one
query for each. Beyond `MOST` of them the engine's own index is faster; its recall is then measured and reported.
"""

from array import array
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import numpy as np

from retrieval.model.neighbours import find_neighbours
from retrieval.schema.arrays import Bool, Float, Float32, Int, UInt64
from retrieval.schema.records import Point, codes_of
from retrieval.store.base import Store
from retrieval.util.reporting import ReportCount, ReportNote, ignore

MOST = 500_000
"""Different contents that are compared with each other; with more, a server's index is faster (docs/decisions/0030)."""
SAMPLE = 500
"""Images on which the index's recall is measured: enough to tell 0.99 from 1."""
TIE = 1e-5
"""Relative tolerance: a hit counts as right if it is farther than the true k-th by less (float32 rounding)."""
PAGE = 1024
"""Embeddings in one request to the engine."""
CROWD = 2**14
"""Hits asked for, at most, to get past copies of an image."""


class CollectionTable:
    """Ids, contents and embeddings of a collection's points in the order of their ids, as compact arrays."""

    def __init__(self) -> None:
        self._ids, self._contents, self._codes, self._dim = array("Q"), array("Q"), array("f"), 0

    def add(self, page: Sequence[Point]) -> None:
        """Append a page of points that have their embeddings."""
        codes = codes_of(page)
        self._dim = codes.shape[1]
        self._codes.frombytes(codes.tobytes())
        for point in page:
            mark = UUID(point.id).int
            self._ids.extend((mark >> 64, mark & 2**64 - 1))
            content = str(point.payload["sha256"])[:16]
            self._contents.append(int(content, 16) if content else mark >> 64)

    def __len__(self) -> int:
        return len(self._contents)

    @property
    def codes(self) -> Float32[np.ndarray, "n d"]:
        """The embeddings."""
        return np.frombuffer(self._codes, np.float32).reshape(len(self), self._dim)

    @property
    def contents(self) -> UInt64[np.ndarray, " n"]:
        """The first eight bytes of each image's SHA-256; of its id if that is not known."""
        return np.frombuffer(self._contents, np.uint64)

    def id_of(self, row: int) -> str:
        """The id of the row's point."""
        return str(UUID(int=self._ids[2 * row] << 64 | self._ids[2 * row + 1]))

    def rows_of(self, ids: Sequence[str]) -> Int[np.ndarray, " m"]:
        """The rows of the ids, found by their first eight bytes; -1 for points that are not in the table."""
        known = np.frombuffer(self._ids, np.uint64)[::2]
        wanted = np.array([UUID(each).int >> 64 for each in ids], np.uint64)
        rows = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        return np.where(known[rows] == wanted, rows, -1)

    def places_among(self, first: Int[np.ndarray, " c"]) -> Int[np.ndarray, " n"]:
        """For each row, the place of its content in `first`, which has a row of every content."""
        order = np.argsort(self.contents[first])
        return order[np.searchsorted(self.contents[first], self.contents, sorter=order)]


class ContentNeighbours(NamedTuple):
    """The nearest other contents of each content, nearest first.

    first: a row of the collection's table for each content, ascending
    places: of the neighbours, among `first`
    distances: Euclidean; infinite where there are no more contents
    """

    first: Int[np.ndarray, " c"]
    places: Int[np.ndarray, "c k"]
    distances: Float[np.ndarray, "c k"]


def find_content_neighbours(
    store: Store,
    collection: str,
    table: CollectionTable,
    k: int,
    preferred: Bool[np.ndarray, " n"] | None = None,
    report: ReportCount = ignore,
    note: ReportNote = ignore,
) -> ContentNeighbours:
    """The k nearest other contents of each content; copies of an image count as one.

    table: of the whole collection
    preferred: rows to represent their content, where there is a choice
    report: called with the number of finished contents, and of all
    note: called if the engine's index was used, with its recall
    """
    first = choose_first(table.contents, preferred)
    if len(first) < 2:
        return ContentNeighbours(first, np.empty((len(first), 0), np.int64), np.empty((len(first), 0), np.float32))
    if len(first) <= MOST or store.server is None:
        codes = table.codes if len(first) == len(table) else table.codes[first]
        return ContentNeighbours(first, *find_neighbours(codes, k, report=report))
    found = ask_engine(store, collection, table, first, k, report)
    note(
        f"the neighbours of {len(first):,} images come from the server's index, which finds"
        f" {measure_recall(table, found):.1%} of the true ones (measured on {min(SAMPLE, len(first))})"
    )
    return found


def choose_first(
    contents: UInt64[np.ndarray, " n"], preferred: Bool[np.ndarray, " n"] | None = None
) -> Int[np.ndarray, " c"]:
    """One row of each content, ascending: its first preferred one, or its first.

    >>> choose_first(np.array([7, 5, 7, 5], np.uint64), np.array([False, True, True, True])).tolist()
    [1, 2]
    """
    order = np.argsort(contents, kind="stable") if preferred is None else np.lexsort((~preferred, contents))
    starts = np.ones(len(order), bool)
    starts[1:] = contents[order[1:]] != contents[order[:-1]]
    return np.sort(order[starts])


def ask_engine(
    store: Store, collection: str, table: CollectionTable, first: Int[np.ndarray, " c"], k: int, report: ReportCount
) -> ContentNeighbours:
    """The neighbours by the engine's index. Points that came after the table was filled are left out."""
    place_of = table.places_among(first)
    places = np.zeros((len(first), k), np.int64)
    distances = np.full((len(first), k), np.inf, np.float32)
    for start in range(0, len(first), PAGE):
        waiting, limit = np.arange(start, min(start + PAGE, len(first))), k + 2
        while len(waiting):
            crowded = []
            answers = store.query(collection, table.codes[first[waiting]], limit, payload=False)
            for place, hits in zip(waiting.tolist(), answers, strict=True):
                rows = table.rows_of([hit.id for hit in hits])
                found: dict[int, float] = {}
                for row, hit in zip(rows.tolist(), hits, strict=True):
                    if row >= 0 and place_of[row] != place:
                        found.setdefault(int(place_of[row]), hit.distance)
                if len(found) < k and len(hits) == limit < CROWD:
                    crowded.append(place)
                else:
                    most = min(k, len(found))
                    places[place, :most] = list(found)[:most]
                    distances[place, :most] = list(found.values())[:most]
            waiting, limit = np.array(crowded, np.int64), 4 * limit
        report(min(start + PAGE, len(first)), len(first))
    return ContentNeighbours(first, places, distances)


def measure_recall(table: CollectionTable, found: ContentNeighbours) -> float:
    """Share of the true neighbours of some contents that were found; ties for the last place are fair."""
    codes = table.codes[found.first]
    sample, k = codes[:SAMPLE], found.places.shape[1]  # the first by id, which is random since ids are hashes
    rows, distances = find_neighbours(codes, k + 1, sample)
    others = rows != np.arange(len(sample))[:, None]
    others[:, -1] &= others[:, :-1].sum(axis=1) < k
    limits = np.where(others, distances, 0).max(axis=1)
    right = np.minimum((found.distances[: len(sample)] <= limits[:, None] * (1 + TIE)).sum(axis=1), k)
    return float(right.sum() / others.sum())
