"""A gallery as one PNG image."""

from collections.abc import Sequence
from pathlib import Path

from retrieval.gallery.rows import TITLE, Row, Tile, cut_notes, load_thumbnail
from retrieval.images.draw import TILE, Cell, Line, contact_sheet
from retrieval.util.files import write_output

MAX_ROWS, MAX_HITS = 40, 10
"""Maximum number of queries, and of hits per query: about 1,800 by 9,000 pixels."""


def write_png(path: Path, rows: Sequence[Row], title: str = TITLE, notes: Sequence[str] = ()) -> None:
    """Draw a contact sheet; the notes are lines under the title.

    An image that cannot be read becomes an empty tile. What exceeds MAX_ROWS or MAX_HITS is left out, and the sheet
    says so. Raises RetrievalError when the file cannot be written.
    """
    shown = rows[:MAX_ROWS]
    notes = [*notes, *cut_notes(rows, len(shown), MAX_HITS)]
    write_output(path, contact_sheet([sheet_line(row) for row in shown], title, notes))


def sheet_line(row: Row) -> Line:
    """A row as a line of the contact sheet."""
    hits = [sheet_cell(hit, row.is_match(hit)) for hit in row.hits[:MAX_HITS]]
    return Line(sheet_cell(row.query), hits, row.nothing)


def sheet_cell(tile: Tile, match: bool | None = None) -> Cell:
    """A tile as a cell of the contact sheet."""
    found = load_thumbnail(tile.read, tile.name, TILE)
    head = tile.head if tile.rank is None else f"{tile.rank}  ·  {tile.head}"
    return Cell(None if found is None else found.pixels, head, tile.name, tile.label or "", match, tile.facts)
