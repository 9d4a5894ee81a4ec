"""A contact sheet: one image with queries in the left column and their hits beside them, nearest first."""

import io
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont

from retrieval.schema.arrays import UInt8

TILE = 140
"""Side in pixels of the square in which each image is centred: five times an MNIST digit."""
_GAP, _MARGIN, _PAD, _LINE = 18, 36, 12, 19
_LABEL_LINES, _PATH_LINES, _FACT_LINES = 2, 3, 2
_AFTER_HEAD, _BELOW = 3, 26
_LONGEST = 200
_PIECE = re.compile(r".+?(?:[/ _-]+|$)")
"""What stays on one line: text is broken after these characters."""

_PAPER, _PANEL, _MAT, _RULE = "#ffffff", "#f1f5f9", "#f5f5f4", "#e7e5e4"
_INK, _FAINT = "#1c1917", "#6b6661"
_PILLS = {True: ("#166534", "#dcfce7"), False: ("#9a3412", "#ffedd5"), None: (_INK, "#e7e5e4")}


@dataclass(frozen=True, slots=True)
class Cell:
    """An image with its caption: `head`, then `label`, `path` and `facts`, each from a line of its own.

    image: at most TILE pixels a side; None if it cannot be shown
    right: whether the label is right, which colours it green or orange; None: grey
    """

    image: UInt8[ndarray, "h w 3"] | None
    head: str
    path: str
    label: str = ""
    right: bool | None = None
    facts: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Line:
    """A query and its hits; `note` is shown instead of hits if there are none."""

    query: Cell
    hits: Sequence[Cell]
    note: str


def contact_sheet(lines: Sequence[Line], title: str, notes: Sequence[str] = ()) -> bytes:
    """Draw the sheet as a PNG file.

    notes: lines below the title
    """
    columns = max((len(line.hits) for line in lines), default=0)
    heading = _MARGIN + 34 + _LINE * len(notes) + 22
    first_hit = _MARGIN + TILE + 2 * _PAD + _GAP
    width = max(700, first_hit + columns * (TILE + _GAP) - _GAP + _MARGIN)
    captions = [[_caption(cell) for cell in (line.query, *line.hits)] for line in lines]
    heights = [TILE + 10 + _BELOW + _LINE * max(map(len, some)) for some in captions]
    bottom = heading + sum(heights)
    sheet = Image.new("RGB", (width, bottom + _PAD + _MARGIN), _PAPER)
    pen = ImageDraw.Draw(sheet)
    _text(pen, (_MARGIN, _MARGIN - 6), title, 24, _INK, width - 2 * _MARGIN)
    for i, note in enumerate(notes):
        _text(pen, (_MARGIN, _MARGIN + 34 + i * _LINE), note, 14, _FAINT, width - 2 * _MARGIN)
    pen.rounded_rectangle((_MARGIN, heading, _MARGIN + TILE + 2 * _PAD, bottom), radius=10, fill=_PANEL)
    top = heading + _PAD
    for line, texts, height in zip(lines, captions, heights, strict=True):
        if top > heading + _PAD:
            pen.line((_MARGIN, top - _PAD, width - _MARGIN, top - _PAD), fill=_RULE)
        _cell(sheet, pen, line.query, texts[0], _MARGIN + _PAD, top)
        for j, hit in enumerate(line.hits):
            _cell(sheet, pen, hit, texts[1 + j], first_hit + j * (TILE + _GAP), top)
        if not line.hits:
            _text(pen, (first_hit, top + TILE / 2 - 8), line.note, 14, _FAINT, width - first_hit - _MARGIN)
        top += height
    out = io.BytesIO()
    sheet.save(out, "PNG", optimize=True)
    return out.getvalue()


def placeholder(side: int) -> UInt8[ndarray, "h w 3"]:
    """A square of `side` pixels with the words "no image"."""
    square = Image.new("RGB", (side, side), _MAT)
    middle = (side / 2, side / 2)
    ImageDraw.Draw(square).text(middle, "no image", _FAINT, ImageFont.load_default(side // 12), anchor="mm")
    return np.asarray(square)


def shorten(text: str, fits: int) -> str:
    """Shorten a text to at most `fits` characters by cutting its middle, so that both ends can be read."""
    if len(text) <= fits:
        return text
    tail = fits // 2
    return f"{text[: fits - 1 - tail]}…{text[len(text) - tail :]}"


@dataclass(frozen=True, slots=True)
class _Words:
    """A line of a caption; those of a label lie on its colours, ink and fill."""

    text: str
    size: int
    ink: str
    fill: str | None = None


def _caption(cell: Cell) -> list[_Words]:
    """The lines of a cell's caption."""
    ink, fill = _PILLS[cell.right]
    return [
        _Words(cell.head, 15, _INK),
        *(_Words(text, 13, ink, fill) for text in _wrapped(cell.label, 13, TILE - 14, _LABEL_LINES)),
        *(_Words(text, 13, _FAINT) for text in _wrapped(cell.path, 13, TILE, _PATH_LINES)),
        *(_Words(text, 13, _INK) for fact in cell.facts for text in _wrapped(fact, 13, TILE, _FACT_LINES)),
    ]


def _cell(
    sheet: Image.Image, pen: ImageDraw.ImageDraw, cell: Cell, caption: Sequence[_Words], left: int, top: int
) -> None:
    """Draw the image and caption of one cell."""
    box = (left, top, left + TILE - 1, top + TILE - 1)
    if cell.image is None:
        pen.rectangle(box, fill=_MAT, outline=_RULE)
        pen.text((left + TILE / 2, top + TILE / 2), "no image", _FAINT, ImageFont.load_default(14), anchor="mm")
    else:
        drawn = Image.fromarray(cell.image)
        if drawn.size != (TILE, TILE):
            pen.rectangle(box, fill=_MAT)
        sheet.paste(drawn, (left + (TILE - drawn.width) // 2, top + (TILE - drawn.height) // 2))
    for i, words in enumerate(caption):
        at = top + TILE + 10 + i * _LINE + (_AFTER_HEAD if i else 0)
        if words.fill is None:
            _text(pen, (left, at), words.text, words.size, words.ink, TILE)
        else:
            text, length = _fitting(words.text, words.size, TILE - 14)
            pen.rounded_rectangle((left, at, left + length + 14, at + _LINE - 2), radius=8, fill=words.fill)
            middle = (left + 7 + length / 2, at + (_LINE - 2) / 2)
            pen.text(middle, text, words.ink, ImageFont.load_default(words.size), anchor="mm")


def _text(pen: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, ink: str, width: float) -> None:
    """Draw one line of text, shortened to `width` pixels."""
    pen.text(at, _fitting(text, size, width)[0], ink, ImageFont.load_default(size))


def _printable(text: str) -> str:
    """A text that can be drawn, of at most _LONGEST characters."""
    return shorten("".join(c if c.isprintable() else "�" for c in text), _LONGEST)


def _wrapped(text: str, size: int, width: float, most: int) -> list[str]:
    """Break a text into at most `most` lines of `width` pixels; what is still too long is shortened when drawn."""
    font = ImageFont.load_default(size)
    lines: list[str] = []
    for piece in _PIECE.findall(_printable(text)):
        if lines and font.getlength((lines[-1] + piece).rstrip()) <= width:
            lines[-1] += piece
        else:
            lines.append(piece)
    return [line.rstrip() for line in (*lines[: most - 1], "".join(lines[most - 1 :])) if line]


def _fitting(text: str, size: int, width: float) -> tuple[str, float]:
    """Shorten a text in its middle to at most `width` pixels; returns it with its width."""
    text = _printable(text)
    font = ImageFont.load_default(size)
    for fits in itertools.count(len(text), -1):
        line = shorten(text, fits)
        length = font.getlength(line)
        if length <= width or fits <= 2:
            break
    return line, length
