"""Views: the fast sampling compared with a slow one, and the limits of each distortion."""

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from retrieval.train import augment
from retrieval.train.augment import Distortion, default_distortion, make_views


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
    np.testing.assert_allclose(jax.jit(augment.grid_sample)(jnp.asarray(images), jnp.asarray(at)), expected, atol=1e-5)


STILL = Distortion(turn=0.0, scale=0.0, shear=0.0, shift=0.0, stroke=0.0)


def seen(images: np.ndarray, how: Distortion, seed: int = 0) -> np.ndarray:
    """A view of each image."""
    return np.asarray(
        jax.jit(lambda key, images: make_views(key, images, how))(jax.random.key(seed), jnp.asarray(images))
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_without_distortion_nothing_changes(channels: int) -> None:
    images = some_images(3, 9, 8, channels)
    np.testing.assert_allclose(seen(images, STILL), images, atol=1e-6)


def test_a_shift_moves_each_image_as_a_whole_and_keeps_its_limit() -> None:
    ramp = np.broadcast_to(np.arange(40, dtype=np.float32)[None, :, None, None] / 39, (64, 40, 8, 1))
    moved = (seen(ramp, replace(STILL, shift=0.1)) - ramp)[:, 10:30, 0, 0] * 39  # away from the border
    assert moved.max() - moved.min() > 4  # both ways
    assert np.abs(moved).max() <= 4 + 1e-3
    np.testing.assert_allclose(moved, moved[:, :1].repeat(20, axis=1), atol=1e-4)


def test_a_flip_is_a_mirror_image_every_other_time() -> None:
    images = some_images(200, 6, 7, 1)
    views = seen(images, replace(STILL, flip=True))
    flipped = [np.allclose(view, image[:, ::-1], atol=1e-6) for view, image in zip(views, images, strict=True)]
    same = [np.allclose(view, image, atol=1e-6) for view, image in zip(views, images, strict=True)]
    assert sum(flipped) + sum(same) == 200
    assert 60 < sum(flipped) < 140


def test_crops_lie_within_the_image_and_keep_their_share() -> None:
    size, corner = augment.random_crops(jax.random.key(0), 2000, 0.3)
    assert (np.abs(corner) + size <= 1 + 1e-6).all()
    area, ratio = np.prod(size, axis=1), size[:, 0] / size[:, 1]
    assert 0.3 <= area.min() + 1e-6 < 0.32
    assert area.max() > 0.98
    assert (ratio > 0.74).all()
    assert (ratio < 1.34).all()


def test_the_elastic_field_is_smooth_and_has_variance_one() -> None:
    field = np.asarray(augment.elastic_field(jax.random.key(0), 500, 28, 20))
    assert field.shape == (500, 28, 20, 2)
    np.testing.assert_allclose(field.std(axis=0), 1, atol=0.2)
    assert np.abs(np.diff(field, axis=1)).mean() < 0.2  # neighbours move together


@pytest.mark.parametrize("how", [augment.DRAWN, augment.PHOTO, augment.GREY_PHOTO, Distortion(elastic=2.0, flip=True)])
@pytest.mark.parametrize("channels", [1, 3])
def test_views_stay_in_range_and_differ_by_image_and_key(channels: int, how: Distortion) -> None:
    one = some_images(1, 16, 16, channels)
    images = np.concatenate([one, one])
    first, same, other = seen(images, how), seen(images, how), seen(images, how, seed=1)
    assert first.shape == images.shape
    assert first.min() >= 0
    assert first.max() <= 1
    np.testing.assert_array_equal(first, same)
    assert np.abs(first[0] - first[1]).max() > 0.01
    assert np.abs(first - other).max() > 0.01
    assert np.abs(first - images).max() > 0.01


def test_light_colour_and_grey_change_what_they_are_named_for() -> None:
    flat = np.broadcast_to(np.array([0.6, 0.4, 0.5], np.float32), (32, 8, 8, 3))
    lit = seen(flat, replace(STILL, light=0.4)).mean((1, 2))
    assert np.ptp(lit.mean(axis=1)) > 0.1  # from image to image
    assert np.abs(lit.mean(axis=1) - 0.5).max() <= 0.2 + 1e-6
    tinted = seen(flat, replace(STILL, colour=0.5)).mean((1, 2))
    assert np.ptp(tinted[:, 0] - tinted[:, 2]) > 0.1
    grey = seen(flat, replace(STILL, grey=1.0))
    np.testing.assert_allclose(grey, (flat * augment.LUMA).sum(-1, keepdims=True).repeat(3, -1), atol=1e-6)
    kept = seen(flat[..., :1], augment.DRAWN)
    np.testing.assert_allclose(kept, 0.6, atol=1e-6)  # grey images keep their brightness


@pytest.mark.parametrize("channels", [1, 3])
def test_the_light_varies_in_photographs_and_strokes_in_drawings(channels: int) -> None:
    drawn = default_distortion(np.zeros((40, 8, 8, channels), np.uint8))
    assert (drawn.light, drawn.stroke > 0) == (0, True)
    photo = default_distortion(np.random.default_rng(0).integers(0, 256, (40, 8, 8, channels), np.uint8))
    assert (photo.light > 0, photo.stroke) == (True, 0)


def test_strokes_grow_and_shrink_by_a_pixel_at_most() -> None:
    dot = np.zeros((1, 7, 7, 1), np.float32)
    dot[0, 3, 3] = 1
    square = np.zeros_like(dot)
    square[0, 2:5, 2:5] = 1
    np.testing.assert_array_equal(augment.dilate(jnp.asarray(dot)), square)
    np.testing.assert_array_equal(-augment.dilate(-jnp.asarray(square)), dot)

    squares = jnp.asarray(square.repeat(200, axis=0))
    changed = np.asarray(augment.vary_stroke(jax.random.key(0), squares, augment.Distortion(stroke=0.5)))
    ring = changed[:, 1, 3, 0]
    rim = changed[:, 2, 3, 0]
    assert 0.4 < ring.max() <= 0.5
    assert 0.5 <= rim.min() < 0.6
    assert ((ring > 0) ^ (rim < 1)).all()  # either thicker or thinner
