"""The pipeline against plain computations: formats, channels, resizing, determinism, and `probe`."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from retrieval.errors import BadImage
from retrieval.images.decode import decode, encode_jpeg, encode_png, probe
from retrieval.images.formats import SUFFIXES
from retrieval.images.opening import load_pixels, open_header
from retrieval.schema.image_shape import ImageShape
from tests.errors import raises
from tests.images.samples import file, file_of, heic, noise, photo


def test_a_png_comes_back_pixel_by_pixel() -> None:
    pixels = noise(5, 7)
    decoded = decode(file(pixels), "a.png", ImageShape(5, 7, 3))
    np.testing.assert_array_equal(decoded.pixels, pixels)
    assert (decoded.width, decoded.height) == (7, 5)
    assert decoded.pixels.dtype == np.uint8


@pytest.mark.parametrize(
    ("kind", "options", "tolerance"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("PPM", {}, 0),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 16),
        ("JPEG", {"quality": 95}, 8),
        ("JPEG", {"quality": 95, "progressive": True}, 8),
        ("GIF", {}, 24),
        ("HEIF", {"quality": 95}, 12),
    ],
)
def test_every_supported_format(kind: str, options: dict[str, object], tolerance: int) -> None:
    data = heic(photo(), **options) if kind == "HEIF" else file(photo(), kind, **options)
    decoded = decode(data, f"a.{kind}", ImageShape(48, 64, 3))
    assert np.abs(decoded.pixels.astype(int) - photo()).max() <= tolerance
    assert probe(data, "a") == (48, 64, 3)


def test_colour_to_grey_is_luma() -> None:
    pixels = noise(6, 6)
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    grey = decode(file(pixels), "a", ImageShape(6, 6, 1)).pixels
    assert grey.shape == (6, 6, 1)
    assert np.abs(grey[..., 0] - luma).max() <= 1


def test_grey_to_colour_repeats_the_channel() -> None:
    grey = noise(6, 6, 1)
    colour = decode(file(grey[..., 0]), "a", ImageShape(6, 6, 3)).pixels
    np.testing.assert_array_equal(colour, grey.repeat(3, axis=2))


def test_grey_to_colour_and_back_is_the_same_grey() -> None:
    grey = noise(6, 6, 1)
    colour = decode(file(grey[..., 0]), "a", ImageShape(6, 6, 3)).pixels
    np.testing.assert_array_equal(decode(encode_png(colour), "a", ImageShape(6, 6, 1)).pixels, grey)


def test_halving_averages_with_a_tent() -> None:
    """The slow twin: at half size, each output is a weighted mean of four inputs a side, 1-3-3-1, cut at the edge."""
    pixels = noise(8, 8, 1)

    def halve(rows: np.ndarray) -> np.ndarray:
        out = []
        for i in range(len(rows) // 2):
            weights = {2 * i - 1: 1, 2 * i: 3, 2 * i + 1: 3, 2 * i + 2: 1}
            inside = {j: w for j, w in weights.items() if 0 <= j < len(rows)}
            out.append(sum(w * rows[j] for j, w in inside.items()) / sum(inside.values()))
        return np.array(out)

    twin = halve(halve(pixels[..., 0].astype(float)).T).T
    small = decode(file(pixels[..., 0]), "a", ImageShape(4, 4, 1)).pixels[..., 0]
    assert np.abs(small - twin).max() <= 1.5


def test_size_is_height_then_width() -> None:
    assert decode(file(photo(48, 64)), "a", ImageShape(10, 20, 3)).pixels.shape == (10, 20, 3)


def test_a_fine_pattern_becomes_grey_not_moire() -> None:
    stripes = np.zeros((64, 64), np.uint8)
    stripes[::2] = 255
    small = decode(file(stripes), "a", ImageShape(7, 7, 1)).pixels
    assert np.abs(small.astype(int) - 127).max() <= 12


def test_the_same_bytes_give_the_same_pixels() -> None:
    data = file(photo(300, 400), "JPEG")
    first, second = (decode(data, "a", ImageShape(28, 28, 3)).pixels for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_a_large_jpeg_read_at_a_fraction_looks_as_if_read_whole() -> None:
    data = file(photo(600, 800), "JPEG", quality=95)
    quick = decode(data, "a", ImageShape(32, 32, 3))
    whole = Image.open(io.BytesIO(data)).resize((32, 32), Image.Resampling.BILINEAR)
    assert np.abs(quick.pixels.astype(int) - np.asarray(whole)).max() <= 4
    assert (quick.width, quick.height) == (800, 600)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    first, *rest = (Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue"))
    options = {"lossless": True} if kind == "WEBP" else {}
    data = file_of(first, kind, save_all=True, append_images=rest, **options)
    assert (decode(data, "a", ImageShape(8, 8, 3)).pixels == (255, 0, 0)).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_probe_agrees_with_decode(mode: str) -> None:
    data = file_of(Image.new("RGB", (9, 5), "teal").convert("L" if mode == "I;16" else mode), "TIFF")
    if mode == "I;16":
        data = file_of(Image.fromarray(np.full((5, 9), 999, np.uint16)), "TIFF")
    height, width, channels = probe(data, "a")
    decoded = decode(data, "a", ImageShape(height, width, channels))
    assert (decoded.height, decoded.width) == (height, width) == (5, 9)
    assert channels == (1 if mode in ("1", "L", "LA", "I;16") else 3)


def test_png_round_trip() -> None:
    for channels in (1, 3):
        pixels = noise(9, 4, channels)
        np.testing.assert_array_equal(decode(encode_png(pixels), "a", ImageShape(9, 4, channels)).pixels, pixels)


def test_a_jpeg_looks_like_what_it_was_made_of() -> None:
    found = decode(encode_jpeg(photo()), "a", ImageShape(48, 64, 3)).pixels
    assert np.abs(found.astype(int) - photo()).max() <= 16


@pytest.mark.parametrize("value", [-1, 0, 65535, 65536])
def test_whole_numbers_are_taken_as_16_bits_or_refused(value: int) -> None:
    data = file_of(Image.fromarray(np.array([[value, 65535 if value else 0]], np.int32)), "TIFF")
    if value in (0, 65535):
        assert decode(data, "a", ImageShape(1, 2, 1)).pixels.ravel().tolist() == [value >> 8] * 2
        return
    with raises(BadImage, "a", 65535):
        decode(data, "a", ImageShape(1, 2, 1))


@pytest.mark.parametrize(("wanted", "size"), [(150, (400, 300)), (151, (800, 600)), (75, (200, 150)), (38, (200, 150))])
def test_a_jpeg_is_decoded_at_no_less_than_twice_what_is_wanted(wanted: int, size: tuple[int, int]) -> None:
    wide, tall = (open_header(file(photo(*sides), "JPEG"), "a") for sides in ((600, 800), (800, 600)))
    for image in (wide, tall):
        load_pixels(image, wanted, "a")
    assert wide.size == tall.size[::-1] == size


def test_suffixes_cost_no_pillow() -> None:
    assert {".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic"} <= SUFFIXES
    code = "import sys, retrieval.images; sys.exit('PIL' in sys.modules or 'pi_heif' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
