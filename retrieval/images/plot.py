"""Dots on two axes beside each other: the same shares upwards, other costs sideways on a logarithmic scale."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

SIDE, GAP, LEFT, TOP, BELOW = 440, 70, 80, 60, 110
PAPER, INK, FAINT, RULE = "#ffffff", "#1c1917", "#6b6661", "#e7e5e4"
COLOURS = ("#1d4ed8", "#c2410c", "#15803d", "#7c3aed", "#0f766e")
MARK = 6


@dataclass(frozen=True, slots=True)
class Dot:
    """x: a cost above 0 · y: a share in [0, 1] · kind: dots of one kind have one colour, and a name in the legend."""

    x: float
    y: float
    kind: str
    name: str
    chosen: bool = False


def plots(pictures: Sequence[tuple[str, Sequence[Dot]]], upwards: str, low: float, least: float) -> bytes:
    """A PNG file. low: where the upward axis begins · least: the share at which a line is drawn."""
    kinds = list(dict.fromkeys(dot.kind for _, dots in pictures for dot in dots))
    colours = dict(zip(kinds, COLOURS, strict=False))
    sheet = Image.new("RGB", (LEFT + len(pictures) * (SIDE + GAP), TOP + SIDE + BELOW), PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, (name, dots) in enumerate(pictures):
        _plot(pen, LEFT + number * (SIDE + GAP), name, upwards if number == 0 else "", dots, colours, low, least)
    left = LEFT
    for kind in kinds:
        at = TOP + SIDE + BELOW - 24
        pen.ellipse((left, at - MARK, left + 2 * MARK, at + MARK), fill=colours[kind])
        pen.text((left + 20, at), kind, INK, ImageFont.load_default(15), anchor="lm")
        left += 40 + int(ImageFont.load_default(15).getlength(kind))
    out = io.BytesIO()
    sheet.save(out, "PNG", optimize=True)
    return out.getvalue()


def _plot(
    pen: ImageDraw.ImageDraw,
    left: int,
    name: str,
    upwards: str,
    dots: Sequence[Dot],
    colours: dict[str, str],
    low: float,
    least: float,
) -> None:
    font, logs = ImageFont.load_default(14), [math.log10(dot.x) for dot in dots]
    first, last = min(logs) - 0.08, max(logs) + 0.08

    def across(x: float) -> float:
        return left + (math.log10(x) - first) / (last - first) * SIDE

    def up(y: float) -> float:
        return TOP + (1 - y) / ((1 - low) or 1.0) * SIDE

    pen.text((left, TOP - 34), upwards, INK, ImageFont.load_default(16), anchor="lm")
    for part in range(6):
        share = low + (1 - low) * part / 5
        pen.line((left, up(share), left + SIDE, up(share)), fill=RULE)
        pen.text((left - 8, up(share)), f"{share:.4f}", FAINT, font, anchor="rm")
    for x in _ticks(first, last):
        pen.line((across(x), TOP, across(x), TOP + SIDE), fill=RULE)
        pen.text((across(x), TOP + SIDE + 8), f"{x:g}", FAINT, font, anchor="mt")
    pen.text((left + SIDE / 2, TOP + SIDE + 34), name, INK, ImageFont.load_default(16), anchor="mt")
    if least >= low:
        pen.line((left, up(least), left + SIDE, up(least)), fill=FAINT, width=2)
    for dot in sorted(dots, key=lambda dot: dot.chosen):
        x, y = across(dot.x), up(dot.y)
        pen.ellipse((x - MARK, y - MARK, x + MARK, y + MARK), fill=colours[dot.kind], outline=PAPER)
        if dot.chosen:
            pen.ellipse((x - 2 * MARK, y - 2 * MARK, x + 2 * MARK, y + 2 * MARK), outline=INK, width=2)
            anchor, x = ("rt", x - 14) if x > left + SIDE / 2 else ("lt", x + 14)
            pen.text((x, y + 10), dot.name, INK, font, anchor=anchor)


def _ticks(first: float, last: float) -> list[float]:
    """1, 2 and 5 times the powers of ten between two logarithms."""
    powers = range(math.floor(first), math.ceil(last) + 1)
    return [step * 10.0**power for power in powers for step in (1, 2, 5) if first <= math.log10(step) + power <= last]
