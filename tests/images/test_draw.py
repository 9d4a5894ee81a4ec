"""The contact sheet and its captions."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from retrieval.images.draw import TILE, Cell, Line, contact_sheet, shorten
from tests.images.samples import noise


def sheet(*lines: Line, title: str = "Nearest", notes: tuple[str, ...] = ()) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(contact_sheet(lines, title, notes))).convert("RGB"))


def line(hits: int, label: str = "", right: bool | None = None) -> Line:
    cell = Cell(noise(TILE, TILE), "1  ·  0.5", "a.png", label, right)
    return Line(cell, [cell] * hits, "nothing")


def test_a_longer_row_makes_a_wider_sheet_and_more_rows_a_taller_one() -> None:
    small, wide, tall = sheet(line(5)), sheet(line(7)), sheet(line(5), line(0))
    assert wide.shape[1] > small.shape[1] == tall.shape[1]
    assert tall.shape[0] > small.shape[0] == wide.shape[0]


def test_the_paper_is_white_and_an_image_unchanged() -> None:
    drawn = sheet(line(1))
    assert (drawn[0] == 255).all()
    assert (drawn[:, -1] == 255).all()
    starts = (drawn[:, 36 + 12 : 36 + 12 + TILE] == noise(TILE, TILE)[0]).all(axis=(1, 2)).nonzero()[0]
    assert len(starts) == 1


@pytest.mark.parametrize(
    ("right", "fill"), [(True, (220, 252, 231)), (False, (255, 237, 213)), (None, (231, 229, 228))]
)
def test_a_label_lies_on_its_colour(right: bool | None, fill: tuple[int, int, int]) -> None:
    blank = Line(Cell(None, "query", ""), [Cell(None, "1", "", "cat", right)], "")
    assert (sheet(blank) == fill).all(axis=2).sum() > 200


def test_odd_text_is_drawn_not_fatal() -> None:
    odd = "a\nb\t\udcff\0" + "很" * 5000
    cell = Cell(None, odd, odd, odd)
    assert sheet(Line(cell, [cell], odd), title=odd, notes=(odd,)).shape[1] == sheet(line(1)).shape[1]


def test_an_empty_sheet_is_still_an_image() -> None:
    assert sheet().shape[1] >= 640


@given(st.text(), st.integers(1, 40))
def test_shortened_text_keeps_both_ends(text: str, fits: int) -> None:
    short = shorten(text, fits)
    assert len(short) <= fits
    if len(text) <= fits:
        assert short == text
    else:
        head, _, tail = short.partition("…") if "…" not in text else (text[:0], "", text[len(text) :])
        assert text.startswith(head)
        assert text.endswith(tail)


def test_a_label_is_below_the_distance_and_percentile() -> None:
    drawn = sheet(Line(Cell(None, "", ""), [Cell(None, "1  ·  0.5000  p83", "a.png", "Lemon", True)], ""), title="")
    label = (drawn == (220, 252, 231)).all(axis=2)
    ink = (drawn == (28, 25, 23)).all(axis=2)
    assert np.flatnonzero(ink.any(axis=1)).max() < np.flatnonzero(label.any(axis=1)).min()


def test_a_long_name_takes_more_lines_and_stays_whole() -> None:
    name = "Green-Vegetables/Packages-Of-Ten/Brussels-Sprouts.jpg"
    short, long = (sheet(Line(Cell(None, "query", path), [], "")) for path in ("a.jpg", name))
    assert long.shape[0] > short.shape[0]
