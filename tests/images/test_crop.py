"""Cropping: the largest centred part of the model's aspect ratio, of images of any shape, turned or large."""

import numpy as np
import pytest
from PIL import Image

from retrieval.images import decode as decoding
from retrieval.images.decode import decode, part_seen
from retrieval.schema.image_shape import ImageShape
from tests.images.samples import file, file_of, noise, photo
from tests.images.test_orientation import exif

SQUARE = ImageShape(16, 16, 3, "crop")


def centre(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]


@pytest.mark.parametrize(("height", "width"), [(16, 160), (160, 16), (16, 16), (16, 17), (31, 16)])
def test_the_centre_is_kept_and_nothing_is_stretched(height: int, width: int) -> None:
    pixels = noise(height, width)
    seen = decode(file(pixels), "a", SQUARE)
    np.testing.assert_array_equal(seen.pixels, centre(pixels, 16, 16))
    assert (seen.height, seen.width) == (height, width)


@pytest.mark.parametrize(
    ("image", "shape", "box"),
    [
        ((100, 100), (16, 16), (0, 0, 100, 100)),
        ((1000, 100), (16, 16), (450, 0, 550, 100)),
        ((100, 1000), (16, 32), (0, 475, 100, 525)),
        ((1, 1000), (16, 160), (0, 499, 1, 500)),
        ((1000, 1), (160, 16), (499, 0, 500, 1)),
        ((99, 100), (16, 16), (0, 0, 99, 99)),
    ],
)
def test_the_part_has_the_models_aspect_ratio(
    image: tuple[int, int], shape: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    assert part_seen(image, ImageShape(*shape, 3, "crop")) == box
    assert part_seen(image, ImageShape(*shape, 3)) == (0, 0, *image)


@pytest.mark.parametrize("turned", range(1, 9))
def test_a_turned_image_is_cropped_as_it_is_shown(turned: int) -> None:
    data = file(noise(16, 64), exif=exif(turned))
    tall = turned >= 5
    whole = decode(data, "a", ImageShape(*((64, 16) if tall else (16, 64)), 3)).pixels
    np.testing.assert_array_equal(decode(data, "a", SQUARE).pixels, centre(whole, 16, 16))


@pytest.mark.parametrize("turned", [1, 6])
def test_a_jpeg_read_at_a_fraction_is_cropped_too(turned: int) -> None:
    data = file(photo(640, 1920), "JPEG", quality=95, exif=exif(turned))
    expected = np.rot90(photo(640, 1920), -1) if turned == 6 else photo(640, 1920)
    part = Image.fromarray(np.ascontiguousarray(centre(expected, 640, 640))).resize((16, 16), Image.Resampling.BILINEAR)
    seen = decode(data, "a", SQUARE).pixels.astype(int)
    assert np.abs(seen - np.asarray(part)).max() <= 4


@pytest.mark.parametrize("turned", [1, 3, 6, 7])
@pytest.mark.parametrize("mode", ["RGBA", "P", "L"])
def test_strips_give_the_same_pixels(mode: str, turned: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.fromarray(noise(37, 90, 4), "RGBA").convert(mode)
    data = file_of(image, "PNG", exif=exif(turned))
    shapes = [ImageShape(height, width, c, "crop") for height, width in ((8, 8), (20, 9)) for c in (1, 3)]
    whole = [decode(data, "a", shape).pixels.tobytes() for shape in shapes]
    monkeypatch.setattr(decoding, "_LARGE", 100)
    monkeypatch.setattr(decoding, "_STRIP", 50)
    assert [decode(data, "a", shape).pixels.tobytes() for shape in shapes] == whole
