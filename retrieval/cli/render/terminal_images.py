"""Small images in a terminal, side by side: half blocks in colour, or shades where there is no colour."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from rich.color import Color
from rich.style import Style
from rich.text import Text

from retrieval.errors import BadImage
from retrieval.images.decode import thumbnail

SHADES = " ░▒▓█"
LARGEST, SMALLEST_COLOUR, SMALLEST_SHADES = 28, 10, 20
"""Width of an image in cells: at most an MNIST digit's pixels, and at least what shows what it is."""
QUERY_GAP, GAP = 3, 1


def image_strip(images: Sequence[bytes | None], captions: Sequence[str], width: int, *, colour: bool) -> Text:
    """The first image (the query) and the others (its hits) beside it, as many as fit `width` cells.

    The rest goes below. Each has its caption under it; an image that cannot be read is left blank.
    """
    smallest = SMALLEST_COLOUR if colour else SMALLEST_SHADES
    side = (width - QUERY_GAP + GAP) // max(1, len(images)) - GAP
    side = max(2, min(max(side, smallest), LARGEST, width))
    per_line = max(1, (width - QUERY_GAP + GAP) // (side + GAP))
    drawn = [draw_image(data, caption, side, colour=colour) for data, caption in zip(images, captions, strict=True)]
    text = Text()
    for start in range(0, len(drawn), per_line):
        for line in zip(*drawn[start : start + per_line], strict=True):
            for i, part in enumerate(line):
                text.append(" " * (0 if i == 0 else QUERY_GAP if start + i == 1 else GAP))
                text.append_text(part)
            text.append("\n")
    return text


def draw_image(data: bytes | None, caption: str, side: int, *, colour: bool) -> list[Text]:
    """Lines of `side` cells: the image, two of its pixels per cell, and the caption."""
    pixels = fit_square(data, side)
    if pixels is None:
        lines = [Text(" " * side) for _ in range((side + 1) // 2)]
    else:
        lines = [(half_blocks if colour else shades)(*pair) for pair in zip(pixels[::2], pixels[1::2], strict=True)]
    return [*lines, Text(caption[:side].center(side))]


def fit_square(data: bytes | None, side: int) -> UInt8[ndarray, "h w 3"] | None:
    """The image in the middle of a black square of `side` pixels (one row more where that makes pairs)."""
    if data is None:
        return None
    try:
        small = thumbnail(data, "image", side)
    except BadImage:
        return None
    square = np.zeros((side + side % 2, side, 3), np.uint8)
    top, left = (side - small.shape[0]) // 2, (side - small.shape[1]) // 2
    square[top : top + small.shape[0], left : left + small.shape[1]] = small
    return square


def half_blocks(upper: UInt8[ndarray, "w 3"], lower: UInt8[ndarray, "w 3"]) -> Text:
    """A line of cells whose upper halves are the foreground, lower halves the background."""
    line = Text()
    for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
        line.append("▀", Style(color=Color.from_rgb(*above), bgcolor=Color.from_rgb(*below)))
    return line


def shades(upper: UInt8[ndarray, "w 3"], lower: UInt8[ndarray, "w 3"]) -> Text:
    """A line of cells as bright as the two pixels in each."""
    brightness = (upper.astype(float) + lower).mean(axis=1) / 2
    return Text("".join(SHADES[int(level * len(SHADES) / 256)] for level in brightness))
