"""All eight EXIF orientations, against pixels worked out by hand."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from retrieval.images.decode import decode, probe, thumbnail
from retrieval.schema.image_shape import ImageShape
from tests.images.samples import file, photo

ORIENTATION = 0x0112

# What a viewer must show of the stored letter   A B C
#                                                D E F
UPRIGHT = {
    1: ["ABC", "DEF"],
    2: ["CBA", "FED"],
    3: ["FED", "CBA"],
    4: ["DEF", "ABC"],
    5: ["AD", "BE", "CF"],
    6: ["DA", "EB", "FC"],
    7: ["FC", "EB", "DA"],
    8: ["CF", "BE", "AD"],
}
SHADES = {"A": 0, "B": 50, "C": 100, "D": 150, "E": 200, "F": 250}
STORED = np.array([[0, 50, 100], [150, 200, 250]], np.uint8)


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[ORIENTATION] = orientation
    return tags


def shades(rows: list[str]) -> np.ndarray:
    return np.array([[SHADES[letter] for letter in row] for row in rows], np.uint8)


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_shown_upright(kind: str, orientation: int) -> None:
    stored = STORED.repeat(16, axis=0).repeat(16, axis=1)  # 16: whole JPEG blocks
    colour = np.stack([stored] * 3, axis=-1)
    lossless = {"lossless": True} if kind == "WEBP" else {}
    data = file(colour, kind, exif=exif(orientation), **lossless)
    expected = shades(UPRIGHT[orientation])
    size = (expected.shape[0] * 16, expected.shape[1] * 16)

    decoded = decode(data, "a", ImageShape(*size, 1))
    middles = decoded.pixels[8::16, 8::16, 0].astype(int)
    assert np.abs(middles - expected).max() <= 3
    assert (decoded.height, decoded.width) == size == probe(data, "a")[:2]


@pytest.mark.parametrize("orientation", UPRIGHT)
def test_a_jpeg_read_at_a_fraction_is_turned_too(orientation: int) -> None:
    data = file(photo(640, 960), "JPEG", quality=95, exif=exif(orientation))
    corners = {"A": photo()[0, 0], "C": photo()[0, -1], "D": photo()[-1, 0], "F": photo()[-1, -1]}
    rows = UPRIGHT[orientation]
    decoded = decode(data, "a", ImageShape(60, 60, 3))
    for y, x in [(0, 0), (0, -1), (-1, 0), (-1, -1)]:
        assert np.abs(decoded.pixels[y, x].astype(int) - corners[rows[y][x]]).max() <= 12
    expected = (960, 640) if orientation >= 5 else (640, 960)
    assert (decoded.height, decoded.width) == expected == probe(data, "a")[:2]
    assert (thumbnail(data, "a", 48).shape[0] > 40) is (orientation >= 5)


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_a_senseless_orientation_is_ignored(value: int) -> None:
    data = file(STORED, "PNG", exif=exif(value))
    np.testing.assert_array_equal(decode(data, "a", ImageShape(2, 3, 1)).pixels[..., 0], STORED)


@pytest.mark.parametrize("junk", [b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM" + b"\xfe" * 60, b"x"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_corrupt_exif_spoils_nothing(kind: str, junk: bytes) -> None:
    data = file(photo(), kind, exif=junk)
    decoded = decode(data, "a", ImageShape(48, 64, 3))
    assert np.abs(decoded.pixels.astype(int) - photo()).max() <= 24
    assert probe(data, "a") == (48, 64, 3)


def test_exif_behind_the_pixels_of_a_png_counts() -> None:
    data = file(STORED)
    body = b"eXIf" + exif(6).tobytes().removeprefix(b"Exif\0\0")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    late = data[:-12] + chunk + data[-12:]  # before the closing IEND, after the IDAT
    assert probe(late, "a") == (3, 2, 1)
    np.testing.assert_array_equal(decode(late, "a", ImageShape(3, 2, 1)).pixels[..., 0], shades(UPRIGHT[6]))
