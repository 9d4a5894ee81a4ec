"""Exact nearest neighbours, and whole rankings by brute force in bounded memory: a few queries' distances at a time."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Num

from retrieval.errors import UsageError
from retrieval.model.neighbours import find_neighbours

TABLE = 2**24
"""Distances in memory at a time: 64 MB of float32."""
MOST_QUERIES = 1024
BLOCK = 2**24
"""Values converted to float at a time; raw pixels are stored as bytes."""

Rows = Int[np.ndarray, " k"]
Distances = Float[np.ndarray, " k"]


def nearest(
    queries: Num[np.ndarray, "q d"], codes: Num[np.ndarray, "n d"], k: int
) -> tuple[Int[np.ndarray, "q k"], Float[np.ndarray, "q k"]]:
    """Rows and Euclidean distances of each query's k nearest embeddings, nearest first.

    Raises UsageError for no queries, no embeddings, and k not in [1, n].

    >>> rows, distances = nearest(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0], [0.0, 1.0]]), k=2)
    >>> rows.tolist(), distances.tolist()
    ([[1, 0]], [[1.0, 5.0]])
    """
    if not 1 <= k <= len(codes):
        raise UsageError(f"must be at least 1 and at most the number of codes ({len(codes):,}), not {k}", option="k")
    require_some(queries, codes)
    return find_neighbours(codes, k, queries)


def distance_tables(
    queries: Num[np.ndarray, "q d"], codes: Num[np.ndarray, "n d"]
) -> Iterator[tuple[slice, Float[np.ndarray, "_q n"]]]:
    """Squared Euclidean distances to all embeddings, for a few queries at a time: (slice of the queries, table).

    Computed as |a|² − 2ab + |b|² after subtracting the mean embedding. Errors are up to about 1e-6 of the largest
    value; `exact_nearest` measures the nearest ones again. Raises UsageError for no queries and no embeddings.
    """
    require_some(queries, codes)
    dtype = np.result_type(codes, np.float32)
    centre = codes.mean(axis=0, dtype=np.float64).astype(dtype)
    step = max(1, BLOCK // codes.shape[1])
    blocks = [slice(start, start + step) for start in range(0, len(codes), step)]
    norms = np.concatenate([((codes[block] - centre) ** 2).sum(axis=1) for block in blocks])
    size = max(1, min(MOST_QUERIES, TABLE // len(codes)))
    for start in range(0, len(queries), size):
        asked = queries[start : start + size] - centre
        table = np.empty((len(asked), len(codes)), dtype)
        for block in blocks:
            np.matmul(-2 * asked, (codes[block] - centre).T, out=table[:, block])
        table += norms
        table += (asked**2).sum(axis=1)[:, None]
        yield slice(start, start + len(asked)), table


def require_some(queries: Num[np.ndarray, "q d"], codes: Num[np.ndarray, "n d"]) -> None:
    """Raise UsageError for no queries and no embeddings."""
    if not len(queries) or not len(codes):
        raise UsageError(f"{len(queries):,} queries and {len(codes):,} codes: give at least 1 of each")


def exact_nearest(
    squared: Num[np.ndarray, " n"],
    limit: "np.floating[Any]",
    query: Num[np.ndarray, " d"],
    codes: Num[np.ndarray, "n d"],
    k: int,
) -> tuple[Rows, Distances]:
    """Rows and exact distances of one query's k nearest embeddings, nearest first.

    squared: the query's row of a distance table; infinite for rows to leave out
    limit: the k-th smallest value of `squared`; ties for the last place are broken arbitrarily
    """
    nearer = np.flatnonzero(squared < limit)
    tied = np.flatnonzero(squared == limit)[: k - len(nearer)] if np.isfinite(limit) else nearer[:0]
    found = np.concatenate([nearer, tied])
    distances = np.sqrt(((codes[found].astype(squared.dtype) - query) ** 2).sum(axis=1))
    order = np.argsort(distances, kind="stable")
    return found[order], distances[order]


def ranks(everything: Float[np.ndarray, " n"], right: Float[np.ndarray, " r"]) -> Int[np.ndarray, " r"]:
    """Ranks of a query's relevant items, ascending; 1 is the nearest.

    everything: distances of all items, ascending, the relevant ones included
    right: distances of the relevant items
    Ties get the last rank among them, so identical embeddings gain nothing.

    >>> ranks(np.array([0.1, 0.5, 0.5, 0.9]), np.array([0.5, 0.1])).tolist()
    [1, 3]
    """
    return np.searchsorted(everything, np.sort(right), side="right")
