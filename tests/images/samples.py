"""Small images made on the spot, and their files' bytes."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

Pixels = UInt8[ndarray, "..."]


def file_of(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def file(pixels: Pixels, kind: str = "PNG", **options: Any) -> bytes:
    return file_of(Image.fromarray(pixels), kind, **options)


def heic(pixels: Pixels, **options: Any) -> bytes:
    """An HEIC file, by a package that can write it; what we read it with cannot."""
    import pillow_heif

    out = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(out, **options)
    return out.getvalue()


def photo(height: int = 48, width: int = 64) -> UInt8[ndarray, "h w 3"]:
    """Smooth colours, different in each corner, so that JPEG is close and every turn shows."""
    y, x = np.mgrid[:height, :width]
    red, green = 255 * y / (height - 1), 255 * x / (width - 1)
    return np.stack([red, green, 255 - (red + green) / 2], axis=-1).astype(np.uint8)


def noise(height: int, width: int, channels: int = 3, seed: int = 0) -> UInt8[ndarray, "h w c"]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def png_header_only(width: int, height: int) -> bytes:
    """A few bytes that promise a white grey PNG of any size; its pixels would decompress to nothing."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 64)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


WHOLE = {
    "PNG": file(noise(24, 24)),
    "JPEG": file(noise(24, 24), "JPEG"),
    "GIF": file(noise(24, 24), "GIF"),
    "WEBP": file(noise(24, 24), "WEBP"),
    "TIFF": file(noise(24, 24), "TIFF", compression="tiff_lzw"),
    "BMP": file(noise(24, 24), "BMP"),
}
"""A small good file of each format, of noise, so that every byte matters."""
