"""Image modes: 16 bits, palettes, CMYK, alpha."""

import io

import numpy as np
import pytest
from PIL import Image

from retrieval.errors import BadImage
from retrieval.images.decode import decode, probe
from retrieval.schema.image_shape import ImageShape
from tests.errors import raises
from tests.images.samples import file, file_of, noise

VALUES = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)


def pgm16(values: np.ndarray) -> bytes:
    return b"P5 8 8 65535\n" + values.astype(">u2").tobytes()


@pytest.mark.parametrize(
    "data",
    [
        file(VALUES, "PNG"),
        file(VALUES, "TIFF"),
        file_of(Image.frombytes("I;16B", (8, 8), VALUES.astype(">u2").tobytes()), "TIFF"),
        file(VALUES.astype(np.int32), "TIFF"),
        pgm16(VALUES),
    ],
    ids=["png", "tiff", "tiff big-endian", "tiff 32-bit", "pgm"],
)
def test_16_bit_grey_keeps_its_range(data: bytes) -> None:
    grey = decode(data, "a", ImageShape(8, 8, 1)).pixels[..., 0].astype(int)
    assert np.abs(grey - (VALUES >> 8)).max() <= 1
    assert probe(data, "a") == (8, 8, 1)
    colour = decode(data, "a", ImageShape(8, 8, 3)).pixels
    np.testing.assert_array_equal(colour[..., 2], grey)


def test_the_transparent_value_of_a_16_bit_png_is_white() -> None:
    values = np.array([[1000, 2000]], np.uint16)
    data = file(values, "PNG", transparency=1000)
    assert Image.open(io.BytesIO(data)).info["transparency"] == 1000
    np.testing.assert_array_equal(decode(data, "a", ImageShape(1, 2, 1)).pixels[0, :, 0], [255, 2000 >> 8])


@pytest.mark.parametrize("values", [[[-5, 7]], [[0, 70_000]]])
def test_integers_beyond_16_bits_are_refused(values: list[list[int]]) -> None:
    with raises(BadImage, "a.tif", 65535):
        decode(file(np.array(values, np.int32), "TIFF"), "a.tif", ImageShape(1, 2, 1))


def test_floating_point_is_refused_by_both() -> None:
    data = file(np.ones((4, 4), np.float32), "TIFF")
    for call in (lambda: decode(data, "a.tif", ImageShape(4, 4, 1)), lambda: probe(data, "a.tif")):
        with raises(BadImage, "a.tif", "floating-point"):
            call()


def test_palette() -> None:
    pixels = np.array([[[255, 0, 0], [0, 128, 0]], [[0, 0, 255], [9, 9, 9]]], np.uint8)
    image = Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE)
    assert image.mode == "P"
    np.testing.assert_array_equal(decode(file_of(image, "PNG"), "a", ImageShape(2, 2, 3)).pixels, pixels)


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"], ids=["one entry", "alpha per entry"])
def test_transparent_palette_entries_are_white(transparency: int | bytes) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    data = file_of(image, "PNG", transparency=transparency)
    np.testing.assert_array_equal(decode(data, "a", ImageShape(1, 2, 3)).pixels[0], [[255, 255, 255], [0, 0, 255]])


def test_1_bit_is_black_and_white() -> None:
    bits = np.array([[True, False], [False, True]])
    for kind in ("PNG", "TIFF", "BMP", "PPM"):
        grey = decode(file(bits, kind), "a", ImageShape(2, 2, 1)).pixels[..., 0]
        np.testing.assert_array_equal(grey, bits * 255)


def test_cmyk_jpeg_has_the_colours_of_its_inks() -> None:
    inks = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # magenta and yellow make red
    data = file_of(inks, "JPEG", quality=95)
    assert Image.open(io.BytesIO(data)).mode == "CMYK"
    assert np.abs(decode(data, "a", ImageShape(16, 16, 3)).pixels.astype(int) - (255, 0, 0)).max() <= 4
    assert np.abs(decode(data, "a", ImageShape(16, 16, 1)).pixels.astype(int) - 76).max() <= 4


@pytest.mark.parametrize("channels", [1, 3])
def test_grey_with_alpha_over_white(channels: int) -> None:
    pixels = np.array([[[0, 255], [0, 0], [100, 128]]], np.uint8)
    shown = decode(file(pixels), "a", ImageShape(1, 3, channels)).pixels[0].astype(int)
    assert np.abs(shown - [[0], [255], [177]]).max() <= 1


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_colour_with_alpha_over_white(kind: str) -> None:
    pixels = noise(6, 6, 4)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    alpha = pixels[..., 3:] / 255
    twin = pixels[..., :3] * alpha + 255 * (1 - alpha)
    shown = decode(file(pixels, kind, **options), "a", ImageShape(6, 6, 3)).pixels
    assert np.abs(shown - twin).max() <= 1


def test_hidden_colours_do_not_show_in_grey() -> None:
    hidden = np.zeros((4, 4, 4), np.uint8)  # black, wholly transparent
    assert (decode(file(hidden), "a", ImageShape(4, 4, 1)).pixels == 255).all()


def test_a_transparent_colour_of_an_rgb_png_is_white() -> None:
    pixels = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    data = file(pixels, "PNG", transparency=(1, 2, 3))
    np.testing.assert_array_equal(decode(data, "a", ImageShape(1, 2, 3)).pixels[0], [[255, 255, 255], [4, 5, 6]])
