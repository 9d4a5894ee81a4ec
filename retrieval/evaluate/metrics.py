"""How good a ranking is, and how much of its space a code uses. Pure NumPy; labels are used for counting only.

P@k and recall@k look at the first k hits, as a search returns them. Average precision and R-precision look at the
whole ranking, through the ranks (1 is the nearest) of all that is right for one query; `ranking.ranks` finds them.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from retrieval.errors import UsageError

ROUNDING = 1e-7
"""A singular value below that share of the largest is what rounding leaves of zero."""


def precision_at_k(queries: Sequence[object], hits: Sequence[Sequence[object]], k: int) -> float:
    """Mean share of the first k hits that carry their query's label, in [0, 1]; a missing hit counts as wrong.

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
    """Mean, over all that is right, of the precision at its rank, in [0, 1]; mAP is its mean over queries.

    ranks: ascending, from 1; equal ranks are a tie. Manning et al. 2008, Introduction to Information Retrieval, 8.4;
    ties as in scikit-learn's `average_precision_score`. Raises UsageError when nothing is right.

    >>> average_precision(np.array([1, 3]))  # (1/1 + 2/3) / 2
    0.8333333333333333
    """
    check_ranks(ranks)
    return float((np.searchsorted(ranks, ranks, side="right") / ranks).mean())


def r_precision(ranks: Int[np.ndarray, " r"]) -> float:
    """Share of the first R hits that are right, where R is how many are right in all, in [0, 1].

    ranks: ascending, from 1. Manning et al. 2008, 8.4. Raises UsageError when nothing is right.

    >>> r_precision(np.array([1, 3, 9]))  # of the first three hits, the first and the third
    0.6666666666666666
    """
    check_ranks(ranks)
    return float((ranks <= len(ranks)).mean())


def check_ranks(ranks: Int[np.ndarray, " r"]) -> None:
    """Raise UsageError when there is no rank to average over."""
    if not len(ranks):
        raise UsageError("0 ranks: nothing is right for this query", hint="leave it out")


def effective_rank(codes: Float[np.ndarray, "n d"]) -> float:
    """How many dimensions the codes use, between 1 (all codes on one line) and min(n, d); 0 if every code is zero.

    RankMe (Garrido et al. 2023, arXiv 2210.02885): exp of the entropy of the singular values, scaled to sum to 1.
    Raises UsageError for no codes.

    >>> round(effective_rank(np.array([[2.0, 0.0], [0.0, 2.0]])), 6), effective_rank(np.array([[3.0, 4.0], [6.0, 8.0]]))
    (2.0, 1.0)
    """
    if not codes.size:
        raise UsageError(f"codes are {codes.shape[0]}×{codes.shape[1]}: give at least 1")
    wide = codes.astype(np.float64)
    spread = wide.T @ wide if wide.shape[0] > wide.shape[1] else wide @ wide.T
    singular = np.sqrt(np.maximum(np.linalg.eigvalsh(spread), 0))
    used = singular[singular > singular.max() * ROUNDING]
    share = used / used.sum()
    return float(np.exp(-(share * np.log(share)).sum())) if len(used) else 0.0
