"""Nearest codes and precision against loops that nobody can get wrong."""

import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from retrieval import evaluate
from retrieval.evaluate import nearest, precision_at_k

values = st.floats(-100, 100, width=32).map(lambda x: round(x, 3))


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(evaluate)
    assert result.attempted >= 3
    assert result.failed == 0


@given(
    codes=arrays(np.float64, st.tuples(st.integers(1, 12), st.just(3)), elements=values),
    queries=arrays(np.float64, st.tuples(st.integers(0, 6), st.just(3)), elements=values),
    k=st.integers(1, 15),
)
@settings(deadline=None)
def test_nearest_equals_a_naive_loop(codes: np.ndarray, queries: np.ndarray, k: int) -> None:
    rows, distances = nearest(queries, codes, k)
    k = min(k, len(codes))
    assert rows.shape == distances.shape == (len(queries), k)
    for query, found, measured in zip(queries, rows, distances, strict=True):
        expected = sorted(math.dist(query, code) for code in codes)[:k]
        np.testing.assert_allclose(measured, expected, atol=1e-5)
        assert len(set(found)) == k
        # by distance, not by row: among equals any may come first
        np.testing.assert_allclose([math.dist(query, codes[row]) for row in found], measured, atol=1e-9)


def test_nearest_goes_through_all_queries_in_parts() -> None:
    codes = np.random.default_rng(0).normal(size=(evaluate.CHUNK * 2 + 5, 8)).astype(np.float32)
    rows, distances = nearest(codes, codes, 2)
    np.testing.assert_array_equal(rows[:, 0], np.arange(len(codes)))
    np.testing.assert_array_equal(distances[:, 0], 0)
    assert (distances[:, 1] > 0).all()
    assert distances.dtype == np.float32


def test_precision_worked_by_hand() -> None:
    hits = [["7", "1", "7"], ["1", "1", "1"], ["4", "9", "9"]]
    assert precision_at_k(["7", "1", "4"], hits, k=3) == pytest.approx((2 + 3 + 1) / 9)
    assert precision_at_k(["7", "1", "4"], hits, k=1) == 1


def test_a_missing_hit_counts_as_wrong() -> None:
    assert precision_at_k(["7"], [["7", "7"]], k=4) == 0.5
    assert precision_at_k(["7"], [[]], k=4) == 0


def test_queries_and_hits_must_pair_up() -> None:
    with pytest.raises(ValueError, match="zip"):
        precision_at_k(["7", "1"], [["7"]], k=1)
