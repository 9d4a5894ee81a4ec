"""Exact nearest neighbours by matrix products, on all cores.

Queries are multiplied with the codes in tiles that fit into a core's cache. Of a tile, only the groups of columns are
looked at whose nearest member may be among a query's k nearest; their distances are computed again in float64. So what
is found is exact, and the memory is that of the codes and of one tile for each core (docs/decisions/0030).
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from retrieval.schema.arrays import Float, Float32, Int, Num
from retrieval.util.reporting import ReportCount, ignore

ROWS, COLUMNS = 256, 4096
"""Size of a tile: 4 MB of distances."""
MEMBERS = 16
"""Columns in a group."""
TIES = 256
"""Candidates kept for a query beyond k; of even more codes that are equally near, any are as good."""
PAIRS = 2**16
"""Distances computed in float64 at a time."""


class Neighbours(NamedTuple):
    """The nearest codes of each query, nearest first; of equally near ones, the first row.

    rows: of the codes, int64[q, k]
    distances: Euclidean
    """

    rows: Int[np.ndarray, "q k"]
    distances: Float[np.ndarray, "q k"]


class PreparedCodes:
    """Codes to search, in the form that the products need; it takes their memory once more.

    Half the squared distance to a query is a product: (query, 1) · (−code, |code|²/2), plus what all codes share.
    """

    def __init__(self, codes: Num[np.ndarray, "n d"]) -> None:
        self.codes = codes
        dim = codes.shape[1]
        self.centre = codes.mean(axis=0, dtype=np.float64).astype(np.float32) if len(codes) else 0
        self.factors = np.empty((len(codes), dim + 1), np.float32)
        np.subtract(self.centre, codes, out=self.factors[:, :dim], casting="same_kind")
        self.factors[:, dim] = np.einsum("nd,nd->n", self.factors[:, :dim], self.factors[:, :dim]) / 2
        self.longest = float(self.factors[:, dim].max(initial=0))

    def __len__(self) -> int:
        return len(self.codes)

    def expand(self, queries: Num[np.ndarray, "q d"]) -> tuple[Float32[np.ndarray, "q d1"], Float32[np.ndarray, " q"]]:
        """The queries' side of the product, and how far rounding may move a result of each."""
        dim = self.codes.shape[1]
        asked = np.ones((len(queries), dim + 1), np.float32)
        np.subtract(queries, self.centre, out=asked[:, :dim], casting="same_kind")
        length = np.sqrt(np.einsum("qd,qd->q", asked[:, :dim], asked[:, :dim]))
        unit = 8 * np.sqrt(dim + 1) * np.finfo(np.float32).eps / 2  # Higham & Mary 2019, doi 10.1137/18M1226312
        return asked, np.asarray(unit * (length * np.sqrt(2 * self.longest) + self.longest), np.float32)


def find_neighbours(
    codes: Num[np.ndarray, "n d"] | PreparedCodes,
    k: int,
    queries: Num[np.ndarray, "q d"] | None = None,
    report: ReportCount = ignore,
) -> Neighbours:
    """The k nearest codes of each query, exactly; without queries, of each code among the others.

    codes: to search; those of one collection
    k: at least 1; fewer are found if there are fewer codes
    report: called with the number of finished queries, and of all

    >>> find_neighbours(np.array([[0.0], [3.0], [4.0]]), k=1).rows.tolist()
    [[1], [2], [1]]
    """
    prepared = codes if isinstance(codes, PreparedCodes) else PreparedCodes(codes)
    asked = prepared.codes if queries is None else queries
    k = min(k, len(prepared) - (queries is None))
    kind = np.result_type(prepared.codes, asked, np.float32)
    if k < 1 or not len(asked):
        return Neighbours(np.empty((len(asked), max(k, 0)), np.int64), np.empty((len(asked), max(k, 0)), kind))
    rows, distances = np.empty((len(asked), k), np.int64), np.empty((len(asked), k), kind)

    def search(start: int) -> int:
        part = slice(start, min(start + ROWS, len(asked)))
        own = start if queries is None else None
        query, column = choose_candidates(prepared, asked[part], k, own)
        rows[part], distances[part] = rank_exactly(prepared.codes, asked[part], query, column, k)
        return part.stop

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in pool.map(search, range(0, len(asked), ROWS)):
            report(done, len(asked))
    return Neighbours(rows, distances)


def choose_candidates(
    prepared: PreparedCodes, queries: Num[np.ndarray, "q d"], k: int, own: int | None
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]:
    """Pairs of query and code that contain the k nearest codes of each query, in the order of the queries.

    own: the row of the first query among the codes, if the queries are codes; each is left out of its own neighbours
    """
    asked, slack = prepared.expand(queries)
    limits, places = np.full(len(asked), np.inf, np.float32), np.arange(len(asked))
    table = np.empty((len(asked), COLUMNS), np.float32)
    found = [(places[:0], places[:0], slack[:0])]
    seen, due, kept = 0, 0, 0
    for start in range(0, len(prepared), COLUMNS):
        factors = prepared.factors[start : start + COLUMNS]
        tile = table[:, : len(factors)]
        np.matmul(asked, factors.T, out=tile)
        if own is not None:
            inside = places[(places + own >= start) & (places + own < start + len(factors))]
            tile[inside, inside + own - start] = np.inf
        for query, column in nearer(tile, limits, k, slack):
            found.append((query, column + start, tile[query, column]))
        seen, waiting = start + len(factors), sum(len(each[0]) for each in found[1:])
        if seen >= due or seen == len(prepared) or waiting > kept + ROWS * MEMBERS:
            found = [keep_nearest(found, limits, k, slack)]
            due, kept = 2 * seen, len(found[0][0])
    return found[0][0], found[0][1]


def nearer(
    tile: Float32[np.ndarray, "q c"], limits: Float32[np.ndarray, " q"], k: int, slack: Float32[np.ndarray, " q"]
) -> Iterator[tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"]]]:
    """Queries and columns of the values within the queries' limits."""
    groups = tile.shape[1] // MEMBERS
    if groups:
        least = tile[:, : groups * MEMBERS].reshape(len(tile), MEMBERS, groups).min(axis=1)
        if groups >= k and np.isinf(limits).all():  # the first tile: k values are within the k-th least group
            limits = np.partition(least, k - 1, axis=1)[:, k - 1] + 2 * slack
        query, group = np.nonzero(least <= limits[:, None])
        columns = group[:, None] + groups * np.arange(MEMBERS)
        pair, member = np.nonzero(tile[query[:, None], columns] <= limits[query, None])
        yield query[pair], columns[pair, member]
    rest = groups * MEMBERS
    query, column = np.nonzero(tile[:, rest:] <= limits[:, None])
    yield query, column + rest


Found = tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"], Float32[np.ndarray, " m"]]


def keep_nearest(
    found: list[Found], limits: Float32[np.ndarray, " q"], k: int, slack: Float32[np.ndarray, " q"]
) -> Found:
    """What may still be among the k nearest, in the order of the queries; lowers the limits in place."""
    query, column, value = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.lexsort((column, value, query))
    query, column, value = query[order], column[order], value[order]
    first = np.searchsorted(query, np.arange(len(limits) + 1))
    enough = np.diff(first) >= k
    limits[enough] = value[first[:-1][enough] + k - 1] + 2 * slack[enough]
    keep = (value <= limits[query]) & (np.arange(len(query)) - first[query] < k + TIES) & np.isfinite(value)
    return query[keep], column[keep], value[keep]


def rank_exactly(
    codes: Num[np.ndarray, "n d"],
    queries: Num[np.ndarray, "q d"],
    query: Int[np.ndarray, " m"],
    column: Int[np.ndarray, " m"],
    k: int,
) -> tuple[Int[np.ndarray, "q k"], Float[np.ndarray, "q k"]]:
    """The k nearest of each query's candidates, by distance in float64, rounded to the codes' precision, and by row.

    query, column: pairs of rows of the queries and of the codes; at least k of each query
    """
    distances = np.empty(len(query), np.result_type(codes, queries, np.float32))
    for start in range(0, len(query), PAIRS):
        part = slice(start, start + PAIRS)
        difference = queries[query[part]].astype(np.float64) - codes[column[part]]
        distances[part] = np.sqrt(np.einsum("md,md->m", difference, difference))
    order = np.lexsort((column, distances, query))
    place = np.searchsorted(query, np.arange(len(queries)))[:, None] + np.arange(k)
    chosen = order[place]
    return column[chosen], distances[chosen]
