"""Is the retrieval any good? Pure NumPy on labels and codes; labels are used for counting only."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

CHUNK = 256
"""Queries compared at a time, to bound the table of distances."""


def precision_at_k(queries: Sequence[str], hits: Sequence[Sequence[str]], k: int) -> float:
    """Mean share of the first k hits that carry their query's label, in [0, 1]; a missing hit counts as wrong.

    >>> precision_at_k(["7", "1"], [["7", "7"], ["1", "4"]], k=2)
    0.75
    """
    right = [sum(label == query for label in found[:k]) for query, found in zip(queries, hits, strict=True)]
    return sum(right) / (k * len(right))


def nearest(
    queries: Float[np.ndarray, "q d"], codes: Float[np.ndarray, "n d"], k: int
) -> tuple[Int[np.ndarray, "q k"], Float[np.ndarray, "q k"]]:
    """Rows and Euclidean distances of each query's k nearest codes by brute force, nearest first.

    >>> rows, distances = nearest(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0], [0.0, 1.0]]), k=2)
    >>> rows.tolist(), distances.tolist()
    ([[1, 0]], [[1.0, 5.0]])
    """
    k = min(k, len(codes))
    norms = (codes**2).sum(axis=1)
    rows = np.empty((len(queries), k), np.int64)
    distances = np.empty((len(queries), k), codes.dtype)
    for start in range(0, len(queries), CHUNK):
        part = queries[start : start + CHUNK]
        squared = norms - 2 * part @ codes.T
        found = np.argpartition(squared, k - 1, axis=1)[:, :k]
        exact = np.sqrt(((codes[found] - part[:, None]) ** 2).sum(axis=2))
        order = np.argsort(exact, axis=1, kind="stable")
        rows[start : start + CHUNK] = np.take_along_axis(found, order, axis=1)
        distances[start : start + CHUNK] = np.take_along_axis(exact, order, axis=1)
    return rows, distances
