"""Images in a terminal, side by side: real ones, or half blocks in colour, or shades where there is no colour."""

import math
import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from retrieval.cli.render.terminal_graphics import Picture, find_cell_size, find_protocol
from retrieval.errors import BadImage
from retrieval.images.decode import encode_png, thumbnail

SHADES = " ░▒▓█"
LARGEST, SMALLEST_COLOUR, SMALLEST_SHADES = 28, 10, 20
"""Width of an image in cells: at most an MNIST digit's pixels, and at least what shows what it is."""
QUERY_GAP, GAP = 3, 1


def print_strip(images: Sequence[bytes | None], captions: Sequence[str], console: Console) -> None:
    """Print the first image (the query) and the others (its hits) as well as the terminal can show them.

    An image that cannot be read is left blank.
    """
    colour = console.is_terminal and not console.no_color
    protocol = find_protocol(os.environ) if colour else None
    if protocol is None:
        console.print(image_strip(images, captions, console.width, colour=colour), end="")
        return
    side, lines = lay_out(len(images), console.width, SMALLEST_COLOUR, LARGEST)
    cell = find_cell_size()
    for line in lines:
        gaps = [0 if place == line.start else QUERY_GAP if place == 1 else GAP for place in line]
        strip = compose([images[place] for place in line], gaps, side, cell)
        rows = strip.shape[0] // cell[1]
        console.print(Picture(encode_png(strip), strip.shape[1] // cell[0], rows, protocol))
        words = [" " * gap + captions[place][:side].center(side) for gap, place in zip(gaps, line, strict=True)]
        console.print("".join(words))


def lay_out(number: int, width: int, smallest: int, largest: int) -> tuple[int, list[range]]:
    """The width of each image in cells, and which images go on each line of `width` cells."""
    side = (width - QUERY_GAP + GAP) // max(1, number) - GAP
    side = max(2, min(max(side, smallest), largest, width))
    per_line = max(1, (width - QUERY_GAP + GAP) // (side + GAP))
    return side, [range(start, min(start + per_line, number)) for start in range(0, number, per_line)]


def compose(
    images: Sequence[bytes | None], gaps: Sequence[int], side: int, cell: tuple[int, int]
) -> UInt8[ndarray, "h w 4"]:
    """The images side by side, each in a square as wide as `side` cells; what is between them is transparent.

    gaps: cells before each image
    cell: its width and height in pixels; the result is a whole number of cells high
    """
    edge = side * cell[0]
    height = math.ceil(edge / cell[1]) * cell[1]
    canvas = np.zeros((height, sum(gaps) * cell[0] + edge * len(images), 4), np.uint8)
    left = 0
    for data, gap in zip(images, gaps, strict=True):
        left += gap * cell[0]
        if (small := load(data, edge)) is not None:
            top, start = (height - small.shape[0]) // 2, left + (edge - small.shape[1]) // 2
            place = canvas[top : top + small.shape[0], start : start + small.shape[1]]
            place[..., :3], place[..., 3] = small, 255
        left += edge
    return canvas


def image_strip(images: Sequence[bytes | None], captions: Sequence[str], width: int, *, colour: bool) -> Text:
    """The same as text, in lines of `width` cells: two pixels in each cell."""
    side, lines = lay_out(len(images), width, SMALLEST_COLOUR if colour else SMALLEST_SHADES, LARGEST)
    drawn = [draw_image(data, caption, side, colour=colour) for data, caption in zip(images, captions, strict=True)]
    text = Text()
    for rows in lines:
        for line in zip(*(drawn[row] for row in rows), strict=True):
            for row, part in zip(rows, line, strict=True):
                text.append(" " * (0 if row == rows.start else QUERY_GAP if row == 1 else GAP))
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
    if (small := load(data, side)) is None:
        return None
    square = np.zeros((side + side % 2, side, 3), np.uint8)
    top, left = (side - small.shape[0]) // 2, (side - small.shape[1]) // 2
    square[top : top + small.shape[0], left : left + small.shape[1]] = small
    return square


def load(data: bytes | None, side: int) -> UInt8[ndarray, "h w 3"] | None:
    """The image with its longer edge at most `side` pixels; None if it cannot be read."""
    try:
        return None if data is None else thumbnail(data, "image", side)
    except BadImage:
        return None


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
