"""Search results for people: a table in the terminal, lines in a pipe, galleries in files."""

import contextlib
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from retrieval.cli.tables import print_table

if TYPE_CHECKING:
    from rich.console import Console

    from retrieval.config import Settings
    from retrieval.gallery import Row, Tile
    from retrieval.records import CollectionMeta, Hit
    from retrieval.search import Result
    from retrieval.sources import Source


def print_results(results: Sequence["Result"], console: "Console") -> None:
    """A table for each query on a terminal; else one line a hit: query, rank, distance, path, label."""
    if not console.is_terminal:
        for result in results:
            for rank, hit in enumerate(result.hits, start=1):
                typer.echo("\t".join([result.query.name, *row(rank, hit)]))
        return
    for result in results:
        rows = [row(rank, hit) for rank, hit in enumerate(result.hits, start=1)]
        columns = ("rank", "distance", "path", "label")
        print_table(columns, rows, numbers=columns[:2], title=result.query.name, console=console)
        console.print("" if result.hits else "nothing else in the collection")


def row(rank: int, hit: "Hit") -> list[str]:
    """A hit as it is printed."""
    return [str(rank), f"{hit.distance:.4f}", f"{hit.source}/{hit.path}", hit.label or ""]


def write_galleries(
    rows: Sequence["Row"], *, html: Path | None = None, png: Path | None = None, title: str = "Nearest pictures"
) -> None:
    """The results with their pictures, as a page and as one picture, where they are wanted."""
    from retrieval.gallery import write_html, write_png

    if html:
        write_html(html, rows, title=title)
    if png:
        write_png(png, rows, title=title)


def gallery_rows(results: Sequence["Result"], meta: "CollectionMeta", settings: "Settings") -> list["Row"]:
    """The results as a gallery takes them; a hit's picture is read from where its source was last seen."""
    from retrieval.gallery import Row, Tile

    sources = open_known(meta, settings)

    def tile(hit: "Hit") -> Tile:
        source = sources.get(hit.source)
        read = functools.partial(source.read, hit.path) if source else None
        return Tile(read, hit.distance, hit.source, hit.path, hit.label)

    return [Row(r.query.name, r.query.read, [tile(h) for h in r.hits], r.query.label, r.refused) for r in results]


def open_known(meta: "CollectionMeta", settings: "Settings") -> dict[str, "Source"]:
    """The collection's sources that are still where they were, by name."""
    from retrieval.errors import RetrievalError
    from retrieval.sources import open_source

    found: dict[str, Source] = {}
    for name, spec in meta.sources.items():
        with contextlib.suppress(RetrievalError):
            found[name] = open_source(spec, settings, name=name)
    return found


def print_pictures(rows: Sequence["Row"], console: "Console") -> None:
    """Each query and its hits as small pictures, side by side."""
    from retrieval.cli.pictures import strip
    from retrieval.errors import BadImage

    def read(picture: "Row | Tile") -> bytes | None:
        try:
            return picture.read() if picture.read else None
        except BadImage:
            return None

    for row in rows:
        captions = ["query", *(f"{hit.distance:.3g}" for hit in row.hits)]
        shown: list[Row | Tile] = [row, *row.hits]
        pictures = [read(picture) for picture in shown]
        colour = console.is_terminal and not console.no_color
        console.print(strip(pictures, captions, console.width, colour=colour))
