"""A gallery as one PNG, to look at, send or print."""

from collections.abc import Sequence
from pathlib import Path

from jaxtyping import UInt8
from numpy import ndarray

from retrieval.gallery.rows import EXPLANATION, NOTHING, TITLE, Read, Row, left_out, small
from retrieval.images.draw import TILE, Cell, Line, contact_sheet
from retrieval.util.files import write_output

MAX_ROWS, MAX_HITS = 40, 10
"""Queries, and hits of each, that fit: about 1,800 by 9,000 pixels."""


def write_png(path: Path, rows: Sequence[Row], title: str = TITLE, notes: Sequence[str] = ()) -> None:
    """Draw a contact sheet; `notes` are lines under the title.

    A picture that cannot be read becomes an empty tile. What is beyond MAX_ROWS and MAX_HITS is left out, and the
    sheet says so. Raises RetrievalError when the file cannot be written.
    """
    shown = rows[:MAX_ROWS]
    notes = [EXPLANATION, *notes, *left_out(rows, len(shown), MAX_HITS)]
    write_output(path, contact_sheet([line(row) for row in shown], title, notes))


def line(row: Row) -> Line:
    """A row as it is drawn."""
    query = Cell(picture(row.read, row.query), "query", row.query, row.label or "")
    hits = [
        Cell(picture(hit.read, hit.path), f"{rank}  ·  {hit.nearness}", hit.name, hit.label or "", row.right(hit))
        for rank, hit in enumerate(row.hits[:MAX_HITS], start=1)
    ]
    return Line(query, hits, row.refused or NOTHING)


def picture(read: Read | None, where: str) -> UInt8[ndarray, "h w 3"] | None:
    """The pixels of a tile."""
    found = small(read, where, TILE)
    return None if found is None else found.pixels
