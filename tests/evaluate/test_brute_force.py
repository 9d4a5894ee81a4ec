"""Tables of distances, and ranks, against naive loops."""

import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.errors import UsageError
from retrieval.evaluate import brute_force
from retrieval.evaluate.brute_force import distance_tables, exact_nearest, nearest, ranks
from tests.errors import raises


def random_codes(n: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def test_the_examples_in_the_docstrings_hold() -> None:
    result = doctest.testmod(brute_force)
    assert result.attempted >= 3
    assert result.failed == 0


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.uint8])
def test_tables_hold_all_squared_distances(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    codes: np.ndarray = (10 * random_codes(101) + 100).astype(kind)
    queries: np.ndarray = (10 * random_codes(23, seed=1) + 100).astype(kind)
    monkeypatch.setattr(brute_force, "TABLE", 4 * len(codes))
    monkeypatch.setattr(brute_force, "BLOCK", 10 * codes.shape[1])
    tables = list(distance_tables(queries, codes))
    assert [len(table) for _, table in tables] == [4, 4, 4, 4, 4, 3]
    expected = ((queries[:, None].astype(float) - codes) ** 2).sum(axis=2)
    np.testing.assert_allclose(np.concatenate([table for _, table in tables]), expected, rtol=1e-4, atol=1e-2)
    for part, table in tables:
        for squared, query in zip(table, queries[part], strict=True):
            _, distances = exact_nearest(squared, np.partition(squared, 2)[2], query, codes, 3)
            np.testing.assert_allclose(distances, nearest(query[None], codes, 3)[1][0], rtol=1e-6)


def test_infinite_distances_are_no_hits() -> None:
    squared = np.array([np.inf, 4, np.inf, 1], np.float32)
    codes = np.array([[0.0], [2.0], [0.0], [1.0]], np.float32)
    rows, distances = exact_nearest(squared, np.float32(np.inf), np.zeros(1, np.float32), codes, 3)
    assert (rows.tolist(), distances.tolist()) == ([3, 1], [1.0, 2.0])


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
