"""`retrieval outliers`."""

from pathlib import Path
from typing import Annotated

import typer

from retrieval.cli.common import (
    DEFAULT_ALIAS,
    Alias,
    Json,
    QdrantUrl,
    print_json,
    progress_bar,
)
from retrieval.cli.tables import print_table

LIMIT = 50


def outliers(
    limit: Annotated[int, typer.Option(min=1, help="Pictures at most, the oddest ones.")] = LIMIT,
    html: Annotated[
        Path | None,
        typer.Option(help="Write them to this file, as a page with each picture beside its reconstruction."),
    ] = None,
    alias: Alias = DEFAULT_ALIAS,
    qdrant_url: QdrantUrl = None,
    as_json: Json = False,
) -> None:
    """Find pictures that fit nowhere: far from all others, or badly reconstructed by the model."""
    from retrieval.config import load_settings
    from retrieval.index import Index

    with Index.open(alias, settings=load_settings(qdrant_url=qdrant_url)) as index, progress_bar() as bar:
        task = bar.add_task("Looking", total=None)
        found = index.outliers(limit, report=lambda done, total: bar.update(task, completed=done, total=total))
        if html:
            from retrieval.gallery.review import write_outliers

            write_outliers(html, found, index.sources(), index.reconstruct([each.id for each in found]))
    if as_json:
        for each in found:
            print_json(each.to_json())
        return
    rows = [
        [
            f"{each.score:.1f}",
            each.why,
            f"{each.distance:.4f}",
            "" if each.error is None else f"{each.error:.4f}",
            each.name,
            each.payload.get("label") or "",
        ]
        for each in found
    ]
    columns = ["score", "why", "distance", "error", "path", "label"]
    print_table(columns, rows, numbers=("score", "distance", "error"))
