"""The layout of the map: neighbours stay together, whatever the number of images."""

import io
import subprocess
import sys

import numpy as np
import pytest

from retrieval.search.layout import lay_out, repel
from retrieval.util.neighbours import find_neighbours


def test_neighbours_stay_together() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 12, 600)
    codes = (rng.normal(size=(12, 16))[kinds] + 0.3 * rng.normal(size=(600, 16))).astype(np.float32)
    given = io.BytesIO()
    np.save(given, codes)
    done = subprocess.run(
        [sys.executable, "-m", "retrieval.search.layout"], input=given.getvalue(), capture_output=True, check=True
    )
    at = np.load(io.BytesIO(done.stdout))
    assert (at.shape, at.dtype, at.min(), at.max()) == ((600, 2), np.float32, 0, 1)
    found = find_neighbours(at, 5).rows
    assert (kinds[found] == kinds[:, None]).mean() > 0.95
    assert (lay_out(codes, 20) == lay_out(codes, 20)).all(), "the same each time"


@pytest.mark.parametrize("n", [20, 100, 300])
def test_neighbours_of_few_images_stay_together(n: int) -> None:
    kinds = np.arange(n) % 4
    rng = np.random.default_rng(n)
    codes = rng.normal(size=(4, 16))[kinds] + 0.3 * rng.normal(size=(n, 16))
    at = lay_out(codes.astype(np.float32))
    assert (kinds[find_neighbours(at, 3).rows] == kinds[:, None]).mean() > 0.95


@pytest.mark.parametrize("codes", [np.zeros((n, 8)) for n in (0, 1, 2, 3, 40)] + [np.eye(7), np.ones((9, 1))])
def test_few_or_equal_images(codes: np.ndarray) -> None:
    at = lay_out(codes.astype(np.float32), 30)
    assert at.shape == (len(codes), 2)
    assert np.isfinite(at).all()


def test_the_grid_is_near_the_sum_over_all_pairs() -> None:
    at = np.random.default_rng(1).normal(scale=15, size=(301, 2))
    apart = at[:, None] - at[None]
    kernel = 1 / (1 + (apart**2).sum(axis=2))
    np.fill_diagonal(kernel, 0)
    exact = (apart * kernel[..., None] ** 2).sum(axis=1) / kernel.sum()
    assert np.corrcoef(repel(at).ravel(), exact.ravel())[0, 1] > 0.93
