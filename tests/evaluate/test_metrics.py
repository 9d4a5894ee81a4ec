"""The metrics: their worked examples, slow twins, and scikit-learn's where it has them."""

import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_score

from retrieval.errors import UsageError
from retrieval.evaluate import metrics
from retrieval.evaluate.brute_force import ranks
from retrieval.evaluate.metrics import average_precision, effective_rank, precision_at_k, r_precision
from tests.errors import raises


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(metrics)
    assert result.attempted >= 4
    assert result.failed == 0


rankings = st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=30).filter(
    lambda found: any(right for _, right in found)
)
"""(distance, whether it is right), few distances, so that there are many ties."""


def ranks_of(found: list[tuple[int, bool]]) -> np.ndarray:
    distances = np.array([distance for distance, _ in found], float)
    right = np.array([is_right for _, is_right in found])
    return ranks(np.sort(distances), distances[right])


@given(found=rankings)
@settings(deadline=None)
def test_average_precision_equals_scikit_learns_also_with_ties(found: list[tuple[int, bool]]) -> None:
    distances, right = zip(*found, strict=True)
    expected = average_precision_score(right, -np.array(distances))
    assert average_precision(ranks_of(found)) == pytest.approx(expected, abs=1e-12)


@given(right=st.lists(st.booleans(), min_size=1, max_size=30).filter(any))
@settings(deadline=None)
def test_r_precision_equals_scikit_learns_precision_of_the_first_r(right: list[bool]) -> None:
    first = np.arange(len(right)) < sum(right)
    expected = precision_score(right, first)
    assert r_precision(ranks_of(list(enumerate(right)))) == pytest.approx(expected)


def test_identical_embeddings_gain_nothing() -> None:
    found = ranks(np.zeros(100), np.zeros(10))
    assert average_precision(found) == pytest.approx(0.1)
    assert r_precision(found) == 0


@pytest.mark.parametrize("metric", [average_precision, r_precision])
def test_where_nothing_is_right_there_is_no_average(metric) -> None:  # type: ignore[no-untyped-def]
    with raises(UsageError, "0 ranks", hint=""):
        metric(np.array([], int))


def test_precision_worked_by_hand() -> None:
    queries, hits = ["7", "1", "4"], [["7", "1", "7"], ["1", "1", "1"], ["9", "9", "4"]]
    assert precision_at_k(queries, hits, k=3) == pytest.approx((2 + 3 + 1) / 9)
    assert precision_at_k(queries, hits, k=1) == pytest.approx(2 / 3)


def test_a_missing_hit_counts_as_wrong() -> None:
    assert precision_at_k(["7"], [["7", "7"]], k=4) == 0.5
    assert precision_at_k(["7"], [[]], k=4) == 0


def test_no_queries_or_ranks_are_refused() -> None:
    with raises(UsageError, 0, option="k"):
        precision_at_k(["7"], [["7"]], k=0)
    with raises(UsageError, "0 queries", hint=""):
        precision_at_k([], [], k=1)
    with pytest.raises(ValueError, match="zip"):
        precision_at_k(["7", "1"], [["7"]], k=1)


def test_effective_rank_counts_the_dimensions_in_use() -> None:
    codes = np.random.default_rng(0).normal(size=(5000, 12)).astype(np.float32)
    assert effective_rank(codes) == pytest.approx(12, abs=0.05)
    codes[:, 4:] = 0
    assert effective_rank(codes) == pytest.approx(4, abs=0.05)
    assert effective_rank(codes.T) == pytest.approx(effective_rank(codes))
    assert effective_rank(np.zeros((3, 2))) == 0
    with raises(UsageError, "0×4"):
        effective_rank(np.zeros((0, 4)))


def test_effective_rank_equals_the_papers_formula() -> None:
    codes = np.random.default_rng(1).normal(size=(40, 9)) * np.linspace(0.1, 3, 9)
    share = np.linalg.svd(codes, compute_uv=False)
    share = share / share.sum() + 1e-7
    assert effective_rank(codes) == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-5)
