"""A contact sheet: one image with queries in the left column and their hits beside them, nearest first."""

import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont

from retrieval.schema.arrays import UInt8

TILE = 140
"""Side in pixels of the square in which each image is centred: five times an MNIST digit."""
_GAP, _MARGIN, _PAD, _LINE = 18, 36, 12, 19
_ROW = TILE + 10 + 2 * _LINE + 26
_LONGEST = 200

_PAPER, _PANEL, _MAT, _RULE = "#ffffff", "#f1f5f9", "#f5f5f4", "#e7e5e4"
_INK, _FAINT = "#1c1917", "#6b6661"
_PILLS = {True: ("#166534", "#dcfce7"), False: ("#9a3412", "#ffedd5"), None: (_INK, "#e7e5e4")}


@dataclass(frozen=True, slots=True)
class Cell:
    """An image with its caption: `head` and `label` on one line, `path` below.

    image: at most TILE pixels a side; None if it cannot be shown
    right: whether the label is right, which colours it green or orange; None: grey
    """

    image: UInt8[ndarray, "h w 3"] | None
    head: str
    path: str
    label: str = ""
    right: bool | None = None


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
    sheet = Image.new("RGB", (width, heading + _PAD + _ROW * len(lines) + _MARGIN), _PAPER)
    pen = ImageDraw.Draw(sheet)
    _text(pen, (_MARGIN, _MARGIN - 6), title, 24, _INK, width - 2 * _MARGIN)
    for i, note in enumerate(notes):
        _text(pen, (_MARGIN, _MARGIN + 34 + i * _LINE), note, 14, _FAINT, width - 2 * _MARGIN)
    panel = (_MARGIN, heading, _MARGIN + TILE + 2 * _PAD, heading + _ROW * len(lines))
    pen.rounded_rectangle(panel, radius=10, fill=_PANEL)
    for i, line in enumerate(lines):
        top = heading + _PAD + i * _ROW
        if i:
            pen.line((_MARGIN, top - _PAD, width - _MARGIN, top - _PAD), fill=_RULE)
        _cell(sheet, pen, line.query, _MARGIN + _PAD, top)
        for j, hit in enumerate(line.hits):
            _cell(sheet, pen, hit, first_hit + j * (TILE + _GAP), top)
        if not line.hits:
            _text(pen, (first_hit, top + TILE / 2 - 8), line.note, 14, _FAINT, width - first_hit - _MARGIN)
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


def _cell(sheet: Image.Image, pen: ImageDraw.ImageDraw, cell: Cell, left: int, top: int) -> None:
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
    caption = top + TILE + 10
    _text(pen, (left, caption), cell.head, 15, _INK, TILE)
    _text(pen, (left, caption + _LINE + 2), cell.path, 13, _FAINT, TILE)
    if cell.label:
        ink, fill = _PILLS[cell.right]
        label, width = _fitting(cell.label, 13, TILE / 2 - 20)
        pill = (left + TILE - width - 14, caption - 1, left + TILE, caption + 18)
        pen.rounded_rectangle(pill, radius=9, fill=fill)
        pen.text(((pill[0] + pill[2]) / 2, caption + 8.5), label, ink, ImageFont.load_default(13), anchor="mm")


def _text(pen: ImageDraw.ImageDraw, at: tuple[float, float], text: str, size: int, ink: str, width: float) -> None:
    """Draw one line of text, shortened to `width` pixels."""
    pen.text(at, _fitting(text, size, width)[0], ink, ImageFont.load_default(size))


def _fitting(text: str, size: int, width: float) -> tuple[str, float]:
    """Shorten a text in its middle to at most `width` pixels; returns it with its width."""
    text = shorten("".join(c if c.isprintable() else "�" for c in text), _LONGEST)
    font = ImageFont.load_default(size)
    for fits in itertools.count(len(text), -1):
        line = shorten(text, fits)
        length = font.getlength(line)
        if length <= width or fits <= 2:
            break
    return line, length
