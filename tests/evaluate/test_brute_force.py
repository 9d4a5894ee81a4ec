"""Nearest neighbours and ranks against naive loops and scikit-learn."""

import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.neighbors import NearestNeighbors

from retrieval.errors import UsageError
from retrieval.evaluate import brute_force
from retrieval.evaluate.brute_force import distance_tables, exact_nearest, nearest, ranks
from tests.errors import raises

values = st.floats(-100, 100, width=32).map(lambda x: round(x, 3))


def random_codes(n: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(brute_force)
    assert result.attempted >= 3
    assert result.failed == 0


@given(
    codes=arrays(np.float64, st.tuples(st.integers(1, 12), st.just(3)), elements=values),
    queries=arrays(np.float64, st.tuples(st.integers(1, 6), st.just(3)), elements=values),
    k=st.integers(1, 12),
)
@settings(deadline=None)
def test_nearest_equals_a_naive_loop(codes: np.ndarray, queries: np.ndarray, k: int) -> None:
    k = min(k, len(codes))
    rows, distances = nearest(queries, codes, k)
    assert rows.shape == distances.shape == (len(queries), k)
    for query, found, measured in zip(queries, rows, distances, strict=True):
        expected = sorted(math.dist(query, code) for code in codes)[:k]
        np.testing.assert_allclose(measured, expected, atol=1e-5)
        assert len(set(found)) == k
        # by distance, not by row: among equals any may come first
        np.testing.assert_allclose([math.dist(query, codes[row]) for row in found], measured, atol=1e-9)


def test_nearest_equals_scikit_learns() -> None:
    codes, queries = random_codes(500), random_codes(40, seed=1)
    rows, distances = nearest(queries, codes, 7)
    expected_distances, expected_rows = (
        NearestNeighbors(n_neighbors=7, algorithm="brute").fit(codes).kneighbors(queries)
    )
    np.testing.assert_array_equal(rows, expected_rows)
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-4)


def test_bytes_give_the_same_hits_as_floats() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (200, 30), np.uint8)
    rows, distances = nearest(pixels[:20], pixels, 4)
    as_floats, same_distances = nearest(pixels[:20].astype(np.float64), pixels.astype(np.float64), 4)
    np.testing.assert_array_equal(rows, as_floats)
    np.testing.assert_allclose(distances, same_distances, rtol=1e-6)
    assert distances.dtype == np.float32


def test_blocks_give_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    codes, queries = random_codes(101), random_codes(23, seed=1)
    whole = nearest(queries, codes, 3)
    monkeypatch.setattr(brute_force, "TABLE", 4 * len(codes))
    monkeypatch.setattr(brute_force, "BLOCK", 10 * codes.shape[1])
    assert [len(table) for _, table in distance_tables(queries, codes)] == [4, 4, 4, 4, 4, 3]
    for expected, found in zip(whole, nearest(queries, codes, 3), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_far_from_zero_nothing_is_lost_to_rounding() -> None:
    codes = random_codes(300) + np.float32(1000)
    rows, distances = nearest(codes, codes, 2)
    np.testing.assert_array_equal(rows[:, 0], np.arange(300))
    np.testing.assert_array_equal(distances[:, 0], 0)
    assert (distances[:, 1] > 0).all()


def test_infinite_distances_are_no_hits() -> None:
    squared = np.array([np.inf, 4, np.inf, 1], np.float32)
    codes = np.array([[0.0], [2.0], [0.0], [1.0]], np.float32)
    rows, distances = exact_nearest(squared, np.float32(np.inf), np.zeros(1, np.float32), codes, 3)
    assert (rows.tolist(), distances.tolist()) == ([3, 1], [1.0, 2.0])


def test_a_tie_for_the_last_place_gives_no_more_than_k_and_loses_nothing_nearer() -> None:
    codes = np.array([[1.0]] * 50 + [[0.5]], np.float32)
    rows, _ = nearest(np.zeros((1, 1), np.float32), codes, 3)
    assert rows.shape == (1, 3)
    assert rows[0, 0] == 50


@pytest.mark.parametrize(
    ("queries", "codes", "k", "option", "named"),
    [
        (2, 3, 0, "k", [3, 0]),
        (2, 3, 4, "k", [3, 4]),
        (2, 0, 1, "k", [0, 1]),
        (0, 3, 1, "", ["0 queries", "3 codes"]),
    ],
)
def test_arguments_out_of_range_are_refused(queries: int, codes: int, k: int, option: str, named: list[object]) -> None:
    with raises(UsageError, *named, option=option):
        nearest(random_codes(queries), random_codes(codes), k)


@given(distances=st.lists(st.integers(0, 5), min_size=1, max_size=12), data=st.data())
def test_a_rank_counts_all_that_are_as_near_or_nearer(distances: list[int], data: st.DataObject) -> None:
    everything = np.array(sorted(distances), float)
    right = data.draw(st.lists(st.sampled_from(distances), unique=True, max_size=5))
    expected = sorted(sum(other <= mine for other in distances) for mine in right)
    assert ranks(everything, np.array(right, float)).tolist() == expected
