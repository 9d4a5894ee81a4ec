"""Nearest neighbours by matrix products against naive loops and scikit-learn."""

import doctest
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.neighbors import NearestNeighbors

from retrieval.util import neighbours
from retrieval.util.neighbours import PreparedCodes, find_neighbours

values = st.floats(-100, 100, width=32).map(lambda x: round(x, 3))


def random_codes(n: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


@pytest.fixture(params=[False, True], ids=["one tile", "many tiles"])
def _small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param:
        for name, value in (("ROWS", 16), ("COLUMNS", 36), ("MEMBERS", 4), ("PAIRS", 50)):
            monkeypatch.setattr(neighbours, name, value)


def test_the_example_holds() -> None:
    assert doctest.testmod(neighbours) == (0, 1)


@given(
    codes=arrays(np.float64, st.tuples(st.integers(1, 12), st.just(3)), elements=values),
    queries=arrays(np.float64, st.tuples(st.integers(0, 6), st.just(3)), elements=values),
    k=st.integers(1, 14),
)
@settings(deadline=None)
def test_neighbours_are_those_of_a_naive_loop(codes: np.ndarray, queries: np.ndarray, k: int) -> None:
    found = find_neighbours(codes, k, queries)
    assert found.rows.shape == found.distances.shape == (len(queries), min(k, len(codes)))
    for query, rows, distances in zip(queries, *found, strict=True):
        expected = sorted((math.dist(query, code), row) for row, code in enumerate(codes))[:k]
        np.testing.assert_allclose(distances, [distance for distance, _ in expected], atol=1e-9)
        np.testing.assert_allclose([math.dist(query, codes[row]) for row in rows], distances, atol=1e-9)
        assert len(set(rows.tolist())) == len(rows)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(("count", "k"), [(1, 3), (2, 3), (36, 3), (301, 1), (301, 7), (301, 150), (301, 400)])
def test_a_code_is_not_its_own_neighbour(count: int, k: int) -> None:
    codes = random_codes(count)
    codes[: count // 3] = codes[count // 3 : 2 * (count // 3)]  # pairs of equal codes
    found = find_neighbours(codes, k)
    far = np.linalg.norm(codes[:, None].astype(float) - codes, axis=2).astype(np.float32)
    np.fill_diagonal(far, np.inf)
    expected = np.argsort(far, axis=1, kind="stable")[:, : min(k, count - 1)]
    np.testing.assert_allclose(found.distances, np.take_along_axis(far, expected, axis=1), rtol=1e-6)
    np.testing.assert_array_equal(found.rows, expected)


@pytest.mark.usefixtures("_small")
def test_neighbours_are_scikit_learns() -> None:
    codes, queries = random_codes(500), random_codes(40, seed=1)
    found = find_neighbours(PreparedCodes(codes), 7, queries)
    distances, rows = NearestNeighbors(n_neighbors=7, algorithm="brute").fit(codes).kneighbors(queries)
    np.testing.assert_array_equal(found.rows, rows)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-4)
    assert found.distances.dtype == np.float32


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("order", ["far ones first", "near ones first"])
def test_the_order_of_the_codes_does_not_matter(order: str) -> None:
    """Each tile brings nearer codes than all before it, or none."""
    codes = np.linspace(10, 1, 1000, dtype=np.float32)[:, None] * np.ones(4, np.float32)
    codes = codes if order == "far ones first" else codes[::-1].copy()
    found = find_neighbours(codes, 5, np.zeros((2, 4), np.float32))
    expected = np.argsort(np.linalg.norm(codes, axis=1), kind="stable")[:5]
    np.testing.assert_array_equal(found.rows, [expected, expected])


@pytest.mark.usefixtures("_small")
def test_of_equal_codes_the_first_rows_are_found() -> None:
    codes = np.concatenate([random_codes(90), np.repeat(random_codes(1, seed=5), 200, axis=0)])
    found = find_neighbours(codes, 6)
    assert found.rows[95].tolist() == [90, 91, 92, 93, 94, 96]
    assert found.distances[95].tolist() == [0.0] * 6


def test_beyond_the_kept_ties_any_are_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "TIES", 3)
    found = find_neighbours(np.zeros((500, 4), np.float32), 5)
    assert not found.distances.any()
    assert all(len(set(rows)) == 5 and row not in rows for row, rows in enumerate(found.rows.tolist()))


def test_far_from_zero_nothing_is_lost_to_rounding() -> None:
    codes = random_codes(300) + np.float32(1000)
    found = find_neighbours(codes, 2, codes)
    np.testing.assert_array_equal(found.rows[:, 0], np.arange(300))
    np.testing.assert_array_equal(found.distances[:, 0], 0)
    assert (found.distances[:, 1] > 0).all()


def test_bytes_are_searched_as_numbers() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (200, 30), np.uint8)
    found = find_neighbours(pixels, 4, pixels[:20])
    exact = find_neighbours(pixels.astype(np.float64), 4, pixels[:20].astype(np.float64))
    np.testing.assert_array_equal(found.rows, exact.rows)
    np.testing.assert_allclose(found.distances, exact.distances, rtol=1e-6)


@pytest.mark.usefixtures("_small")
def test_progress_is_reported_to_the_end() -> None:
    told: list[tuple[int, int]] = []
    find_neighbours(random_codes(40), 3, report=lambda *said: told.append(said))
    assert told[-1] == (40, 40)
    assert all(before < after for before, after in itertools.pairwise(told))
