"""Search results for people: a table on a terminal, lines in a pipe, galleries in files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.cli.console import echo
from retrieval.cli.render.tables import print_table
from retrieval.util.wording import count_of

if TYPE_CHECKING:
    from rich.console import Console

    from retrieval.gallery.rows import Row, Tile
    from retrieval.schema.records import Hit
    from retrieval.search.results import Result


def print_results(results: Sequence["Result"], console: "Console") -> None:
    """Print a table per query on a terminal, elsewhere lines."""
    for result in results:
        if not console.is_terminal:
            print_lines(result)
        elif result.refused is None:  # those are named at the end
            columns = ("rank", "distance", "", "path", "label")
            print_table(columns, hit_rows(result), numbers=columns[:3], title=result.query.name, console=console)
            console.print(result.note or "")


def print_lines(result: "Result") -> None:
    """Print a line per hit: query, rank, distance, percentile, path, label."""
    if result.refused is not None:
        return  # named at the end
    for cells in hit_rows(result):
        echo(result.query.name, *cells)
    if result.note:
        echo(f"note: {result.query.name}: {result.note}", err=True)


def hit_rows(result: "Result") -> list[list[str]]:
    """The hits as rows of the table."""
    return [hit_row(rank, hit) for rank, hit in enumerate(result.hits, start=1)]


def hit_row(rank: int, hit: "Hit") -> list[str]:
    """A hit as a row of the table."""
    share = "" if hit.percentile is None else f"p{hit.percentile:.0f}"
    copies = f" (+{count_of(len(hit.copies), 'copy', 'copies')})" if hit.copies else ""
    stale = " (stale)" if hit.stale else ""
    return [str(rank), f"{hit.distance:.4f}", share, hit.name + copies + stale, hit.label or ""]


def write_galleries(
    rows: Sequence["Row"],
    *,
    html: Path | None = None,
    png: Path | None = None,
    title: str | None = None,
    note: str | None = None,
) -> None:
    """Write the results with their images, as a page and as one image, if asked for.

    note: a warning that goes with them
    """
    from retrieval.gallery.page import write_html
    from retrieval.gallery.rows import EXPLANATION, TITLE
    from retrieval.gallery.sheet import write_png

    notes = [*([note[0].upper() + note[1:] + "."] if note else []), EXPLANATION]
    if html:
        write_html(html, rows, title or TITLE, notes)
    if png:
        write_png(png, rows, title or TITLE, notes)


def print_images(rows: Sequence["Row"], console: "Console") -> None:
    """Print each query and its hits as images, side by side."""
    from retrieval.cli.render.terminal_images import print_strip
    from retrieval.errors import BadImage

    def read(image: "Tile") -> bytes | None:
        try:
            return image.read() if image.read else None
        except BadImage:
            return None

    for row in rows:
        shown = [row.query, *row.hits]
        print_strip([read(tile) for tile in shown], [tile.head.partition(" ")[0] for tile in shown], console)
        console.print()
