"""Pictures as a program holds them (Pillow's, arrays) as the bytes that the one pipeline takes."""

import io
from typing import Any

import numpy as np

from retrieval.errors import BadImage
from retrieval.images.decode import encode_png


def as_bytes(picture: Any, where: str = "picture") -> bytes:
    """An image file of a Pillow image, or of an array u8[h, w], u8[h, w, 1] or u8[h, w, 3] in [0, 255].

    Bytes are taken as a file already. Raises BadImage for anything else.
    """
    if isinstance(picture, bytes | bytearray | memoryview):
        return bytes(picture)
    if callable(getattr(picture, "save", None)) and hasattr(picture, "mode"):
        out = io.BytesIO()
        picture.save(out, "TIFF" if picture.mode in ("CMYK", "I", "I;16", "YCbCr", "LAB") else "PNG")
        return out.getvalue()
    pixels = np.asarray(picture)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
        raise BadImage(where, f"{pixels.dtype}{list(pixels.shape)} is no picture; use uint8[h, w] or uint8[h, w, 3]")
    return encode_png(np.ascontiguousarray(pixels))
