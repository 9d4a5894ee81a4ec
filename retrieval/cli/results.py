"""Search results for people: a table in the terminal, lines in a pipe, galleries in files."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from retrieval.config import Settings
    from retrieval.records import CollectionMeta
    from retrieval.search import Result


def print_results(results: Sequence["Result"], console: "Console") -> None:
    """A table for each query on a terminal; else one line a hit: query, rank, distance, path, label."""
    if not console.is_terminal:
        for result in results:
            for rank, hit in enumerate(result.hits, start=1):
                row = (
                    result.query.name,
                    str(rank),
                    f"{hit.distance:.4f}",
                    f"{hit.source}/{hit.path}",
                    hit.label or "",
                )
                typer.echo("\t".join(row))
        return
    from rich.table import Table

    for result in results:
        table = Table(title=result.query.name, title_justify="left", title_style="bold", box=None)
        for name, justify in (("rank", "right"), ("distance", "right"), ("path", "left"), ("label", "left")):
            table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
        for rank, hit in enumerate(result.hits, start=1):
            table.add_row(str(rank), f"{hit.distance:.4f}", f"{hit.source}/{hit.path}", hit.label or "")
        console.print(table, "" if result.hits else "nothing else in the collection")


def write_galleries(
    results: Sequence["Result"],
    meta: "CollectionMeta",
    settings: "Settings",
    *,
    html: Path | None = None,
    png: Path | None = None,
    title: str = "Nearest pictures",
) -> None:
    """The results with their pictures, as a page and as one picture, where they are wanted."""
    if not (html or png):
        return
    from retrieval import gallery

    rows = gallery_rows(results, meta, settings)
    if html:
        gallery.write_html(html, rows, title=title)
    if png:
        gallery.write_png(png, rows)


def print_pictures(result: "Result", meta: "CollectionMeta", settings: "Settings", console: "Console") -> None:
    """The query and its hits as small pictures, side by side."""
