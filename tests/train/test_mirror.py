"""Whether images may be mirrored: digits may not, photos and symmetric spots may."""

import numpy as np
import pytest
from jaxtyping import UInt8
from sklearn.datasets import load_sample_images

from retrieval.config import load_settings
from retrieval.schema.image_shape import ImageShape
from retrieval.sources import open_source
from retrieval.sources.read import Loaded, read_images
from retrieval.train.augment import MAX_MIRROR_RATIO, default_distortion, is_mirror_safe, mirror_distance_ratio
from tests.train.samples import blobs


def digits(count: int) -> UInt8[np.ndarray, "n h w c"]:
    entries = list(open_source("mnist-sample:train", load_settings()).entries())[:count]
    return np.stack([i.image.pixels for i in read_images(entries, ImageShape(28, 28, 1)) if isinstance(i, Loaded)])


def test_digits_are_not_safe_from_two_hundred_on() -> None:
    for count in (200, 2000):
        assert mirror_distance_ratio(digits(count)) > 1.2
    assert not default_distortion(digits(200)).flip


def test_spots_anywhere_are_safe() -> None:
    assert is_mirror_safe(blobs(400))
    assert default_distortion(blobs(400)).flip


def test_exact_copies_do_not_matter() -> None:
    images = blobs(400)
    alone = mirror_distance_ratio(images)
    assert mirror_distance_ratio(np.concatenate([images, images[:60]])) == pytest.approx(alone, abs=0.05)
    assert not is_mirror_safe(np.concatenate([digits(400), digits(60)]))
    assert mirror_distance_ratio(images[:1].repeat(40, axis=0)) == np.inf


def test_photos_are_safe() -> None:
    photos = np.stack(load_sample_images().images)[:, :416]
    tiles = photos.reshape(2, 13, 32, 20, 32, 3).swapaxes(2, 3).reshape(-1, 32, 32, 3)
    assert abs(mirror_distance_ratio(tiles) - 1) < MAX_MIRROR_RATIO - 1


def test_images_all_on_one_side_are_not_safe() -> None:
    images = np.zeros((100, 8, 8, 1), np.uint8)
    images[:, :, :3] = np.random.default_rng(0).integers(100, 255, (100, 8, 3, 1))
    assert not is_mirror_safe(images)
