"""Thumbnails: in proportion, never blurred when enlarged, the same opening as `decode`."""

import numpy as np
import pytest

from retrieval.errors import BadImage
from retrieval.images.decode import decode, thumbnail
from retrieval.schema.image_shape import ImageShape
from tests.errors import raises
from tests.images.samples import file, noise, photo


@pytest.mark.parametrize(
    ("height", "width", "shape"),
    [
        *((300, 600, (80, 160)), (600, 300, (160, 80)), (400, 400, (160, 160))),
        *((2, 5000, (1, 160)), (5000, 2, (160, 1))),
    ],
)
def test_large_images_keep_their_proportions(height: int, width: int, shape: tuple[int, int]) -> None:
    for kind in ("PNG", "JPEG"):
        assert thumbnail(file(photo(height, width), kind), "a", 160).shape == (*shape, 3)


def test_a_small_image_is_enlarged_by_whole_squares() -> None:
    pixels = noise(28, 20)
    expected = pixels.repeat(5, axis=0).repeat(5, axis=1)  # 160 // 28
    np.testing.assert_array_equal(thumbnail(file(pixels), "a", 160), expected)


def test_grey_becomes_colour() -> None:
    assert thumbnail(file(noise(160, 160, 1)[..., 0]), "a", 160).shape == (160, 160, 3)


def test_what_decode_sees_the_thumbnail_shows() -> None:
    data = file(photo(300, 400), "JPEG", quality=95)
    small = thumbnail(data, "a", 100)
    assert np.abs(small.astype(int) - decode(data, "a", ImageShape(75, 100, 3)).pixels).max() <= 3


def test_bad_bytes() -> None:
    with raises(BadImage, "a", "empty"):
        thumbnail(b"", "a", 160)
