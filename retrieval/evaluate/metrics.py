"""Metrics of a ranking, and of how many dimensions embeddings use. Pure NumPy.

P@k and recall@k use the first k hits, as a search returns them. Average precision and R-precision use the whole
ranking: the ranks (1 is the nearest) of all items that are relevant for a query, from `brute_force.ranks`.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from retrieval.errors import UsageError

ROUNDING = 1e-7
"""Singular values below this share of the largest count as zero (rounding)."""


def precision_at_k(queries: Sequence[object], hits: Sequence[Sequence[object]], k: int) -> float:
    """Mean share of the first k hits that carry their query's label, in [0, 1]; a missing hit counts as wrong.

    queries: each query's label
    hits: the labels of each query's hits, nearest first
    Raises UsageError for k < 1 and for no queries.

    >>> precision_at_k(["7", "1"], [["7", "7"], ["1", "4"]], k=2)
    0.75
    """
    return float(matches(queries, hits, k).mean())


def matches(queries: Sequence[object], hits: Sequence[Sequence[object]], k: int) -> Bool[np.ndarray, "q k"]:
    """Whether each of the first k hits carries its query's label; a missing hit does not.

    Raises UsageError for k < 1 and for no queries.
    """
    if k < 1:
        raise UsageError(f"must be 1 hit or more, not {k}", option="k")
    if not queries:
        raise UsageError("0 queries: nothing to measure", hint="give at least 1")
    right = np.zeros((len(queries), k), bool)
    for row, query, found in zip(right, queries, hits, strict=True):
        row[: len(found)] = [label == query for label in found[:k]]
    return right


def average_precision(ranks: Int[np.ndarray, " r"]) -> float:
    """Mean precision at the rank of each relevant item, in [0, 1]; mAP is its mean over queries.

    Manning et al. 2008, Introduction to Information Retrieval, 8.4; ties as in scikit-learn's
    `average_precision_score`.

    ranks: of the relevant items, ascending, from 1; equal ranks are a tie
    Raises UsageError when no item is relevant.

    >>> average_precision(np.array([1, 3]))  # (1/1 + 2/3) / 2
    0.8333333333333333
    """
    check_ranks(ranks)
    return float((np.searchsorted(ranks, ranks, side="right") / ranks).mean())


def r_precision(ranks: Int[np.ndarray, " r"]) -> float:
    """Share of the first R hits that are relevant, where R is the number of relevant items, in [0, 1].

    Manning et al. 2008, 8.4.

    ranks: of the relevant items, ascending, from 1
    Raises UsageError when no item is relevant.

    >>> r_precision(np.array([1, 3, 9]))  # of the first three hits, the first and the third
    0.6666666666666666
    """
    check_ranks(ranks)
    return float((ranks <= len(ranks)).mean())


def check_ranks(ranks: Int[np.ndarray, " r"]) -> None:
    """Raise UsageError when there is no rank."""
    if not len(ranks):
        raise UsageError("0 ranks: no item is relevant for this query", hint="leave it out")


def effective_rank(codes: Float[np.ndarray, "n d"]) -> float:
    """How many dimensions the embeddings use: 1 (all on one line) to min(n, d); 0 if all are zero.

    RankMe (Garrido et al. 2023, arXiv 2210.02885): the exponential of the entropy of the singular values, scaled to
    sum to 1. Raises UsageError for no embeddings.

    >>> round(effective_rank(np.array([[2.0, 0.0], [0.0, 2.0]])), 6), effective_rank(np.array([[3.0, 4.0], [6.0, 8.0]]))
    (2.0, 1.0)
    """
    if not codes.size:
        raise UsageError(f"codes are {codes.shape[0]}×{codes.shape[1]}: give at least 1")
    wide = codes.astype(np.float64)
    gram = wide.T @ wide if wide.shape[0] > wide.shape[1] else wide @ wide.T
    singular = np.sqrt(np.maximum(np.linalg.eigvalsh(gram), 0))
    used = singular[singular > singular.max() * ROUNDING]
    share = used / used.sum()
    return float(np.exp(-(share * np.log(share)).sum())) if len(used) else 0.0
