"""Pictures as a program holds them (Pillow's, arrays) as the bytes that the one pipeline takes."""

import io
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from retrieval.errors import BadImage
from retrieval.images.decode import encode_png
from retrieval.images.opening import decode_errors, orientation

PNG = ("1", "L", "LA", "P", "RGB", "RGBA")
"""Modes that a PNG holds as they are; TIFF holds the others, but for those that are written in another way."""
REWRITTEN = {"La": "LA", "RGBa": "RGBA", "HSV": "RGB"}
TAKEN = "use uint8[h, w] or uint8[h, w, 3]"


def as_bytes(picture: Any, where: str = "picture") -> bytes:
    """An image file of a Pillow image, or of an array u8[h, w], u8[h, w, 1] or u8[h, w, 3] in [0, 255].

    Bytes are taken as a file already. Raises BadImage for anything else.
    """
    if isinstance(picture, bytes | bytearray | memoryview):
        return bytes(picture)
    if isinstance(picture, Image.Image):
        with decode_errors(where):
            return file_of(picture)
    try:
        pixels = np.asarray(picture)
    except ValueError as error:
        raise BadImage(where, f"{type(picture).__name__} of uneven parts is no picture; {TAKEN}") from error
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
        raise BadImage(where, f"{pixels.dtype}{list(pixels.shape)} is no picture; {TAKEN}")
    return encode_png(np.ascontiguousarray(pixels))


def file_of(image: Image.Image) -> bytes:
    """A PNG or TIFF, which says how it is to be turned, as its file did. Call inside `decode_errors`."""
    image.load()
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = orientation(image)
    image = image.convert(REWRITTEN[image.mode]) if image.mode in REWRITTEN else image
    out = io.BytesIO()
    image.save(out, "PNG" if image.mode in PNG else "TIFF", exif=turned)
    return out.getvalue()
