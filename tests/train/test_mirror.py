"""Whether images may be mirrored: digits may not, photos and symmetric spots may."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import UInt8
from PIL import Image

from retrieval.config import load_settings
from retrieval.schema.image_shape import ImageShape
from retrieval.sources import open_source
from retrieval.sources.read import Loaded, read_images
from retrieval.train.augment import MAX_MIRROR_RATIO, default_distortion, is_mirror_safe, mirror_distance_ratio
from tests.conftest import need
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


def test_photos_are_safe(data_root: Path | None) -> None:
    archive = (data_root or Path("no-data")) / "cifar10" / "cifar10.zip"
    need(archive.is_file(), "CIFAR-10 in $RETRIEVAL_DATA/cifar10/cifar10.zip")
    with zipfile.ZipFile(archive) as photos:
        names = [name for name in photos.namelist() if name.startswith("test/") and name.endswith(".jpg")][::10]
        images = np.stack([np.asarray(Image.open(io.BytesIO(photos.read(name)))) for name in names])
    assert abs(mirror_distance_ratio(images) - 1) < MAX_MIRROR_RATIO - 1


def test_images_all_on_one_side_are_not_safe() -> None:
    images = np.zeros((100, 8, 8, 1), np.uint8)
    images[:, :, :3] = np.random.default_rng(0).integers(100, 255, (100, 8, 3, 1))
    assert not is_mirror_safe(images)
