"""Views of an image: the fast sampling against a slow one, and what may and may not differ."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from retrieval.train import distort


def some_images(b: int, h: int, w: int, c: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(size=(b, h, w, c)).astype(np.float32)


def slow_sample(image: np.ndarray, row: float, column: float) -> np.ndarray:
    """Bilinear by the textbook: the four pixels around the place, weighted by nearness."""
    h, w, _ = image.shape
    row, column = min(max(row, 0), h - 1), min(max(column, 0), w - 1)
    value = np.zeros(image.shape[2])
    for r in {math.floor(row), math.ceil(row)}:
        for c in {math.floor(column), math.ceil(column)}:
            value += image[r, c] * (1 - abs(row - r)) * (1 - abs(column - c))
    return value


@pytest.mark.parametrize("channels", [1, 3])
def test_sample_equals_its_slow_twin_also_outside(channels: int) -> None:
    images = some_images(2, 5, 7, channels)
    at = np.random.default_rng(1).uniform(-3, 9, size=(2, 5, 7, 2)).astype(np.float32)
    at[0, 0, 0], at[0, 0, 1], at[0, 0, 2] = (4, 6), (0, 0), (2, 3)  # corners and a pixel, exactly
    expected = np.empty_like(images)
    for b, i, j in np.ndindex(at.shape[:3]):
        expected[b, i, j] = slow_sample(images[b], *at[b, i, j].astype(float))
    np.testing.assert_allclose(jax.jit(distort.sample)(jnp.asarray(images), jnp.asarray(at)), expected, atol=1e-5)


def test_affine_without_limits_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TURN", "SCALE", "SHEAR", "SHIFT"):
        monkeypatch.setattr(distort, name, 0.0)
    images = some_images(3, 9, 8, 1)
    np.testing.assert_allclose(jax.jit(distort.affine)(jax.random.key(0), jnp.asarray(images)), images, atol=1e-6)


def test_affine_keeps_the_limit_of_its_shift(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TURN", "SCALE", "SHEAR"):
        monkeypatch.setattr(distort, name, 0.0)
    ramp = jnp.broadcast_to(jnp.arange(40.0)[None, :, None, None] / 39, (64, 40, 8, 1))
    moved = jax.jit(distort.affine)(jax.random.key(0), ramp) - ramp
    rows = np.asarray(moved[:, 10:30, 0, 0]) * 39  # away from the border
    assert rows.max() - rows.min() > distort.SHIFT * 40  # both ways
    assert np.abs(rows).max() <= distort.SHIFT * 40 + 1e-3
    np.testing.assert_allclose(rows, rows[:, :1].repeat(20, axis=1), atol=1e-4)  # each image moves as a whole


@pytest.mark.parametrize("channels", [1, 3])
def test_views_stay_in_range_and_differ_by_image_and_key(channels: int) -> None:
    one = some_images(1, 16, 16, channels)
    images = jnp.asarray(np.concatenate([one, one]))
    first, same, other = (np.asarray(jax.jit(distort.views)(jax.random.key(k), images)) for k in (0, 0, 1))
    assert first.shape == images.shape
    assert first.min() >= 0
    assert first.max() <= 1
    np.testing.assert_array_equal(first, same)
    assert np.abs(first[0] - first[1]).max() > 0.01
    assert np.abs(first - other).max() > 0.01
    assert np.abs(first - images).max() > 0.01


def test_grey_keeps_its_brightness_and_colour_does_not() -> None:
    flat = jnp.full((4, 16, 16, 3), 0.5)
    grey = jax.jit(distort.views)(jax.random.key(0), flat[..., :1])
    np.testing.assert_allclose(grey, 0.5, atol=1e-6)
    means = np.asarray(jax.jit(distort.views)(jax.random.key(0), flat)).mean((1, 2))
    assert np.ptp(means, axis=0).min() > 0.01  # from image to image
    assert np.ptp(means, axis=1).min() > 0.001  # from channel to channel
    assert np.abs(means - 0.5).max() <= distort.BRIGHTNESS / 2 + 1e-6
