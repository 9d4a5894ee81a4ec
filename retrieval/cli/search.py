"""`retrieval search`."""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.common import (
    DEFAULT_ALIAS,
    SOURCES,
    Alias,
    Json,
    Model,
    QdrantUrl,
    make_encoder,
    model_of,
    open_sources,
    print_json,
    stdout,
)

if TYPE_CHECKING:
    from retrieval.config import Settings
    from retrieval.search import Query, Result

STDIN = "-"


def search(
    image: Annotated[list[str], typer.Argument(help=f"Images to ask with: {SOURCES}, - (stdin).")],
    k: Annotated[int, typer.Option("-k", "--k", help="Hits for each query.")] = 5,
    limit: Annotated[int | None, typer.Option(min=1, help="Queries at most, the first ones; else all.")] = None,
    include_self: Annotated[bool, typer.Option(help="Do not leave out the query's own picture.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the results to this file, as a page with pictures.")] = None,
    png: Annotated[Path | None, typer.Option(help="Write the results to this file, as one picture.")] = None,
    alias: Alias = DEFAULT_ALIAS,
    model: Model = None,
    qdrant_url: QdrantUrl = None,
    as_json: Json = False,
) -> None:
    """Find the pictures nearest to each query, by the Euclidean distance of their codes."""
    from retrieval import search as job
    from retrieval.cli.results import gallery_rows, print_results, write_galleries
    from retrieval.config import load_settings
    from retrieval.errors import REFUSED, SourceError
    from retrieval.store import open_store
    from retrieval.store.base import resolve

    job.check_k(k)
    settings = load_settings(qdrant_url=qdrant_url)
    shown: list[Result] = []
    refused: list[Result] = []
    asked = 0
    with open_store(settings) as store:
        store.check()
        collection = resolve(store, alias)
        queries = itertools.islice(all_queries(image, settings), limit)
        encoder = make_encoder(settings, model_of(store, collection, settings, model))
        for result in job.search(store, encoder, queries, collection, k, include_self=include_self):
            asked += 1
            if result.refused is not None:
                refused.append(result)
            if as_json:
                print_json(result.to_json())
            elif result.refused is None:
                print_results([result], stdout())
            if html or png:
                shown.append(result)
        meta = store.metadata(collection)
    if refused and len(refused) == asked:
        none = "" if asked == 1 else f"none of {asked:,} queries can be used; the first: "
        raise SourceError(f"{none}{refused[0].query.name}: {refused[0].refused}")
    if shown:
        write_galleries(gallery_rows(shown, meta, settings), html=html, png=png)
    for result in refused:
        typer.echo(f"refused: {result.query.name}: {result.refused}", err=True)
    if refused:
        raise typer.Exit(REFUSED)


def all_queries(images: list[str], settings: "Settings") -> Iterator["Query"]:
    """The pictures that the arguments mean, each with the name it is printed under."""
    from retrieval.images.formats import MAX_BYTES
    from retrieval.search import Query
    from retrieval.sources.folder import File

    for spec in images:
        if spec == STDIN:
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
            yield Query(STDIN, lambda data=data: data)  # type: ignore[misc]
            continue
        (source,) = open_sources([spec], settings)
        single = isinstance(source, File)
        for entry in source.entries():
            name = spec if single else f"{spec.rstrip('/')}/{entry.key}"
            yield Query(name, entry.read, entry.label)
