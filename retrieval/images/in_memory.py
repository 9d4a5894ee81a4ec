"""Images in memory (Pillow images, arrays) as file bytes, which the image pipeline takes."""

import io
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from retrieval.errors import BadImage
from retrieval.images.decode import encode_png
from retrieval.images.opening import decode_errors, orientation

PNG = ("1", "L", "LA", "P", "RGB", "RGBA")
"""Modes that PNG stores unchanged. Other modes are stored as TIFF, those of REWRITTEN after conversion."""
REWRITTEN = {"La": "LA", "RGBa": "RGBA", "HSV": "RGB"}
TAKEN = "use uint8[h, w] or uint8[h, w, 3]"


def as_bytes(image: Any, where: str = "image") -> bytes:
    """Encode a Pillow image, or an array u8[h, w], u8[h, w, 1] or u8[h, w, 3] in [0, 255], as an image file.

    Bytes are returned as they are. Raises BadImage, which `where` names, for anything else.
    """
    if isinstance(image, bytes | bytearray | memoryview):
        return bytes(image)
    if isinstance(image, Image.Image):
        with decode_errors(where):
            return encode_file(image)
    try:
        pixels = np.asarray(image)
    except ValueError as error:
        raise BadImage(where, f"{type(image).__name__} of uneven parts is not an image; {TAKEN}") from error
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
        raise BadImage(where, f"{pixels.dtype}{list(pixels.shape)} is not an image; {TAKEN}")
    return encode_png(np.ascontiguousarray(pixels))


def encode_file(image: Image.Image) -> bytes:
    """Encode a Pillow image as PNG or TIFF, with its EXIF orientation. Call inside `decode_errors`."""
    image.load()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation(image)
    image = image.convert(REWRITTEN[image.mode]) if image.mode in REWRITTEN else image
    out = io.BytesIO()
    image.save(out, "PNG" if image.mode in PNG else "TIFF", exif=exif)
    return out.getvalue()
