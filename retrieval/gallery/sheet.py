"""A gallery as one PNG image."""

from collections.abc import Sequence
from pathlib import Path

from numpy import ndarray

from retrieval.gallery.rows import EXPLANATION, TITLE, Read, Row, cut_notes, load_thumbnail
from retrieval.images.draw import TILE, Cell, Line, contact_sheet
from retrieval.schema.arrays import UInt8
from retrieval.search.results import NOTHING_ELSE
from retrieval.util.files import write_output

MAX_ROWS, MAX_HITS = 40, 10
"""Maximum number of queries, and of hits per query: about 1,800 by 9,000 pixels."""


def write_png(path: Path, rows: Sequence[Row], title: str = TITLE, notes: Sequence[str] = ()) -> None:
    """Draw a contact sheet; the notes are lines under the title.

    An image that cannot be read becomes an empty tile. What exceeds MAX_ROWS or MAX_HITS is left out, and the sheet
    says so. Raises RetrievalError when the file cannot be written.
    """
    shown = rows[:MAX_ROWS]
    notes = [EXPLANATION, *notes, *cut_notes(rows, len(shown), MAX_HITS)]
    write_output(path, contact_sheet([sheet_line(row) for row in shown], title, notes))


def sheet_line(row: Row) -> Line:
    """A row as a line of the contact sheet."""
    query = Cell(tile_pixels(row.read, row.query), "query", row.query, row.label or "")
    hits = [
        Cell(
            tile_pixels(hit.read, hit.path), f"{rank}  ·  {hit.nearness}", hit.name, hit.label or "", row.is_match(hit)
        )
        for rank, hit in enumerate(row.hits[:MAX_HITS], start=1)
    ]
    return Line(query, hits, row.refused or NOTHING_ELSE)


def tile_pixels(read: Read | None, where: str) -> UInt8[ndarray, "h w 3"] | None:
    """The pixels of a tile; None if the image cannot be read."""
    found = load_thumbnail(read, where, TILE)
    return None if found is None else found.pixels
