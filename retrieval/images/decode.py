"""The image pipeline: training, ingest, search and the web service all turn bytes into pixels here.

Open (supported formats only) → size check before decoding → EXIF orientation → 16-bit, palette, CMYK and alpha
to 8-bit grey or RGB → crop → resize → `u8[h, w, c]`.
"""

import io
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from PIL import Image

from retrieval.errors import BadImage
from retrieval.images.opening import load_pixels, open_image, orientation, upright_part, upright_size
from retrieval.schema.arrays import UInt8
from retrieval.schema.image_shape import ImageShape

_LARGE = 2**23
"""Images of more pixels are flattened in strips; the copies of smaller ones take less than 100 MB."""
_STRIP = 2**20
"""Pixels in a strip."""
Box = tuple[int, int, int, int]
"""Left, top, right and bottom, in pixels."""
_GREY = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N")


class DecodedImage(NamedTuple):
    """An image at the model's size.

    pixels: u8 in [0, 255], read-only
    width, height: of the original, upright, in pixels
    """

    pixels: UInt8[ndarray, "h w c"]
    width: int
    height: int


def decode(data: bytes, where: str, shape: ImageShape) -> DecodedImage:
    """Decode an image file to `u8[height, width, channels]`, 0 black to 255 white.

    Transparent parts become white; of an animation, the first frame is used. Equal bytes give equal pixels.

    data: the file's bytes
    where: the image's name in errors
    shape: to which the image is stretched or cropped, and resized, antialiased
    Raises BadImage, and nothing else, for bytes that are not a usable image.
    """
    with open_image(data, where, max(shape.size)) as image:
        turn = orientation(image)
        width, height = upright_size(image, turn)
        load_pixels(image, max(shape.size), where)
        box = part_seen(upright_size(image, turn), shape)  # a JPEG may have been loaded at a lower resolution
        scaled = _scaled(image, turn, box, (shape.width, shape.height), where, shape.channels)
        return DecodedImage(_pixels(scaled, shape.channels), width, height)


def part_seen(size: tuple[int, int], shape: ImageShape) -> Box:
    """The part of an upright image that a model sees: all of it, or the largest centred part of the model's aspect.

    size: (width, height) of the image
    """
    width, height = size
    if shape.fit == "crop":
        width = min(width, max(1, round(size[1] * shape.width / shape.height)))
        height = min(height, max(1, round(size[0] * shape.height / shape.width)))
    left, top = (size[0] - width) // 2, (size[1] - height) // 2
    return left, top, left + width, top + height


def probe(data: bytes, where: str) -> tuple[int, int, int]:
    """(height, width, channels) from the header, upright; 1 channel if grey, else 3. Raises BadImage."""
    with open_image(data, where, 1) as image:
        width, height = upright_size(image, orientation(image))
        return height, width, 1 if image.mode in _GREY else 3


def thumbnail(data: bytes, where: str, side: int) -> UInt8[ndarray, "h w 3"]:
    """The image in colour with its aspect ratio kept, its longer edge at most `side` pixels. Raises BadImage.

    A smaller image is enlarged by the largest integer factor that fits, so that its pixels stay sharp squares.
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
        return _pixels(_scaled(image, turn, (0, 0, width, height), scaled, where, 3), 3)


def encode_png(pixels: UInt8[ndarray, "h w c"]) -> bytes:
    """Encode grey (c = 1), RGB (3) or RGBA (4) pixels as a PNG file."""
    out = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(out, "PNG", optimize=True)
    return out.getvalue()


def encode_jpeg(pixels: UInt8[ndarray, "h w 3"]) -> bytes:
    """Encode RGB pixels as a JPEG file of quality 85."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=85)
    return out.getvalue()


def _scaled(image: Image.Image, turn: int, box: Box, size: tuple[int, int], where: str, channels: int) -> Image.Image:
    """A part of a loaded image, turned upright, flattened and resized to (width, height).

    box: in pixels of the upright image

    Turning and flattening take up to four times the image's memory. A large image is processed strip by strip and one
    channel at a time, which takes a quarter of its memory and gives the same pixels.
    """
    left, top, right, bottom = box
    if (right - left) * (bottom - top) <= _LARGE or (turn == 1 and image.mode == ("L", "RGB")[channels == 3]):
        return _resize(_flatten(upright_part(image, turn, box), where, channels), size)
    bands = [_resize(_band(image, turn, box, where, channels, number), size) for number in range(channels)]
    return bands[0] if channels == 1 else Image.merge("RGB", bands)


def _band(image: Image.Image, turn: int, box: Box, where: str, channels: int, number: int) -> Image.Image:
    """One channel of a part of a loaded image, upright and flattened."""
    left, top, right, bottom = box
    band, step = Image.new("L", (right - left, bottom - top)), max(1, _STRIP // (right - left))
    for row in range(top, bottom, step):
        strip = _flatten(upright_part(image, turn, (left, row, right, min(row + step, bottom))), where, channels)
        band.paste(strip.getchannel(number), (0, row - top))
    return band


def _flatten(image: Image.Image, where: str, channels: int) -> Image.Image:
    """Convert any mode to opaque `L` or `RGB`."""
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
    """Keep the upper 8 of 16 bits; Pillow's convert("L") would clip everything above 255 to white."""
    values = np.asarray(image)
    if image.mode == "I" and (values.min() < 0 or values.max() > 0xFFFF):
        raise BadImage(where, "pixel values outside 0 to 65535; save it with 8 or 16 bits")
    grey = (values >> 8).astype(np.uint8)
    if isinstance(transparent := image.info.get("transparency"), int):
        grey[values == transparent] = 255
    return Image.fromarray(grey)


def _resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Resize to (width, height). Pillow's bilinear filter widens with the reduction, so nothing aliases or rings."""
    return image if image.size == size else image.resize(size, Image.Resampling.BILINEAR)


def _pixels(image: Image.Image, channels: int) -> UInt8[ndarray, "h w c"]:
    return np.frombuffer(image.tobytes(), np.uint8).reshape(image.height, image.width, channels)
