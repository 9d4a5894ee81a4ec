"""Who is near whom, by brute force and in bounded memory: only a few queries' distances exist at a time."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Num

from retrieval.errors import UsageError

TABLE = 2**24
"""Distances in memory at a time: 64 MB of float32."""
MOST_QUERIES = 1024
BLOCK = 2**24
"""Values of codes turned into floats at a time; what is stored as bytes (pixels) stays so."""

Rows = Int[np.ndarray, " k"]
Distances = Float[np.ndarray, " k"]


def nearest(
    queries: Num[np.ndarray, "q d"], codes: Num[np.ndarray, "n d"], k: int
) -> tuple[Int[np.ndarray, "q k"], Float[np.ndarray, "q k"]]:
    """Rows and Euclidean distances of each query's k nearest codes by brute force, nearest first.

    Memory does not grow with queries × codes. Raises UsageError for no queries, no codes, and k not in [1, n].

    >>> rows, distances = nearest(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0], [0.0, 1.0]]), k=2)
    >>> rows.tolist(), distances.tolist()
    ([[1, 0]], [[1.0, 5.0]])
    """
    if not 1 <= k <= len(codes):
        raise UsageError(f"must be at least 1 and at most the number of codes ({len(codes):,}), not {k}", option="k")
    rows, distances = [], []
    for part, table in distance_tables(queries, codes):
        for squared, query in zip(table, queries[part], strict=True):
            found, measured = exact_nearest(squared, np.partition(squared, k - 1)[k - 1], query, codes, k)
            rows.append(found)
            distances.append(measured)
    return np.array(rows), np.array(distances)


def distance_tables(
    queries: Num[np.ndarray, "q d"], codes: Num[np.ndarray, "n d"]
) -> Iterator[tuple[slice, Float[np.ndarray, "_q n"]]]:
    """Squared Euclidean distances of a few queries at a time, named by a slice, to all codes.

    Computed as |a|² − 2ab + |b|² after subtracting the mean embedding. Errors are up to about 1e-6 of the largest
    value; `exact_nearest` measures the nearest ones again. Raises UsageError for no queries and no embeddings.
    """
    if not len(queries) or not len(codes):
        raise UsageError(f"{len(queries):,} queries and {len(codes):,} codes: give at least 1 of each")
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


def exact_nearest(
    squared: Num[np.ndarray, " n"],
    limit: "np.floating[Any]",
    query: Num[np.ndarray, " d"],
    codes: Num[np.ndarray, "n d"],
    k: int,
) -> tuple[Rows, Distances]:
    """The k nearest of one query by its row of a table, measured again exactly; what is infinitely far is left out.

    limit: the k-th smallest of the row. Among more that tie for the last place any is as good.
    """
    nearer = np.flatnonzero(squared < limit)
    tied = np.flatnonzero(squared == limit)[: k - len(nearer)] if np.isfinite(limit) else nearer[:0]
    found = np.concatenate([nearer, tied])
    distances = np.sqrt(((codes[found].astype(squared.dtype) - query) ** 2).sum(axis=1))
    order = np.argsort(distances, kind="stable")
    return found[order], distances[order]


def ranks(everything: Float[np.ndarray, " n"], right: Float[np.ndarray, " r"]) -> Int[np.ndarray, " r"]:
    """Ranks (1 is the nearest), ascending, of what is right for a query, from its distances and those of everything.

    everything: ascending, the right ones among them. Ties take their last place, so that codes which are all alike
    gain nothing from it.

    >>> ranks(np.array([0.1, 0.5, 0.5, 0.9]), np.array([0.5, 0.1])).tolist()
    [1, 3]
    """
    return np.searchsorted(everything, np.sort(right), side="right")
