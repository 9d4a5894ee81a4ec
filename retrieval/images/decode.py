"""The picture pipeline: train, ingest, search and the web page turn bytes into pixels here and nowhere else.

Open (promised formats only) → size check before decoding → EXIF orientation → 16-bit, palette, CMYK and alpha
made plain → channels → resize → `u8[h, w, c]`.
"""

import io
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from retrieval.errors import BadImage
from retrieval.images.opening import load_pixels, open_image, orientation, upright_part, upright_size

_LARGE = 2**23
"""Pixels from which an image is flattened in strips: of a smaller one the copies take less than 100 MB."""
_STRIP = 2**20
"""Pixels of a strip."""
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")


class DecodedImage(NamedTuple):
    """Pixels as the model takes them; width and height are the upright original's, in pixels."""

    pixels: UInt8[ndarray, "h w c"]
    width: int
    height: int


def decode(data: bytes, where: str, size: tuple[int, int], channels: int) -> DecodedImage:
    """The image as `u8[height, width, channels]`, 0 black to 255 white; read-only.

    size: (height, width); the picture is stretched to it, antialiased. channels: 1 grey, 3 RGB. Transparent
    parts become white; of an animation the first frame is taken. The same bytes always give the same pixels.
    Raises BadImage, and nothing else, for bytes that are no usable image; `where` names them in its message.
    """
    with open_image(data, where, max(size)) as image:
        turn = orientation(image)
        width, height = upright_size(image, turn)
        load_pixels(image, max(size), where)
        return DecodedImage(_pixels(_scaled(image, turn, (size[1], size[0]), where, channels), channels), width, height)


def probe(data: bytes, where: str) -> tuple[int, int, int]:
    """(height, width, channels) from the header: upright; 1 channel if grey, else 3. Raises BadImage."""
    with open_image(data, where, 1) as image:
        width, height = upright_size(image, orientation(image))
        return height, width, 1 if image.mode in _GREY else 3


def thumbnail(data: bytes, where: str, side: int) -> UInt8[ndarray, "h w 3"]:
    """The picture in colour, its longer edge at most `side` pixels, its proportions kept. Raises BadImage.

    A smaller picture is enlarged by the largest whole factor that fits, each pixel a crisp square.
    """
    with open_image(data, where, side) as image:
        turn = orientation(image)
        load_pixels(image, side, where)
        width, height = upright_size(image, turn)
        longest = max(width, height)
        if longest <= side:
            factor = side // longest
            whole = _flatten(upright_part(image, turn, (0, 0, width, height)), where, 3)
            return _pixels(whole, 3).repeat(factor, axis=0).repeat(factor, axis=1)
        scaled = (max(1, round(width * side / longest)), max(1, round(height * side / longest)))
        return _pixels(_scaled(image, turn, scaled, where, 3), 3)


def encode_png(pixels: UInt8[ndarray, "h w c"]) -> bytes:
    """A PNG file of grey (c = 1) or RGB (c = 3) pixels."""
    out = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(out, "PNG", optimize=True)
    return out.getvalue()


def encode_jpeg(pixels: UInt8[ndarray, "h w 3"]) -> bytes:
    """A JPEG file of RGB pixels, good enough to look at."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=85)
    return out.getvalue()


def _scaled(image: Image.Image, turn: int, size: tuple[int, int], where: str, channels: int) -> Image.Image:
    """A loaded image upright, flattened and resized to (width, height).

    Turning and flattening take up to four times the image; of a large one they are done strip by strip, a channel at
    a time, which takes a quarter of the image and gives the same pixels.
    """
    width, height = upright_size(image, turn)
    whole = (0, 0, width, height)
    if width * height <= _LARGE or (turn == 1 and image.mode == ("L", "RGB")[channels == 3]):
        return _resize(_flatten(upright_part(image, turn, whole), where, channels), size)
    bands = [_resize(_band(image, turn, where, channels, number), size) for number in range(channels)]
    return bands[0] if channels == 1 else Image.merge("RGB", bands)


def _band(image: Image.Image, turn: int, where: str, channels: int, number: int) -> Image.Image:
    """One channel of a loaded image, upright and flattened."""
    width, height = upright_size(image, turn)
    band, step = Image.new("L", (width, height)), max(1, _STRIP // width)
    for top in range(0, height, step):
        strip = _flatten(upright_part(image, turn, (0, top, width, min(top + step, height))), where, channels)
        band.paste(strip.getchannel(number), (0, top))
    return band


def _flatten(image: Image.Image, where: str, channels: int) -> Image.Image:
    """Any mode to opaque `L` or `RGB`."""
    if image.mode.startswith("I"):
        image = _from_16_bit(image, where)
    elif image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))  # convert("L") alone would show what transparency hides
        image = white
    mode = "L" if channels == 1 else "RGB"
    if image.mode == mode:
        return image
    if image.mode not in ("1", "L", "RGB"):
        image = image.convert("RGB")
    return image if image.mode == mode else image.convert(mode)


def _from_16_bit(image: Image.Image, where: str) -> Image.Image:
    """The upper 8 of 16 bits; Pillow's own convert("L") clips everything above 255 to white."""
    values = np.asarray(image)
    if image.mode == "I" and (values.min() < 0 or values.max() > 0xFFFF):
        raise BadImage(where, "pixel values outside 0 to 65535; save it with 8 or 16 bits")
    grey = (values >> 8).astype(np.uint8)
    if isinstance(transparent := image.info.get("transparency"), int):
        grey[values == transparent] = 255
    return Image.fromarray(grey)


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """To (width, height). Pillow's bilinear filter widens with the reduction, so nothing aliases or rings."""
    return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)


def _pixels(image: Image.Image, channels: int) -> UInt8[ndarray, "h w c"]:
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, channels)
