"""`retrieval export`."""

from pathlib import Path
from typing import Annotated

import typer

from retrieval.cli.common import (
    DEFAULT_ALIAS,
    Alias,
    Json,
    QdrantUrl,
    echo,
    print_json,
    print_warnings,
    progress_bar,
)


def export(
    file: Annotated[
        Path, typer.Argument(metavar="FILE.parquet|FILE.npz", help="The file to write; one that is there is replaced.")
    ],
    where: Annotated[
        str | None, typer.Option(help="Only pictures that meet this, like 'label=7', as for search.")
    ] = None,
    alias: Alias = DEFAULT_ALIAS,
    qdrant_url: QdrantUrl = None,
    as_json: Json = False,
) -> None:
    """Write ids, codes and payloads to a Parquet or .npz file; what a job writes meanwhile may be in it or not."""
    from retrieval.config import load_settings
    from retrieval.export import export as job
    from retrieval.store import open_store

    with open_store(load_settings(qdrant_url=qdrant_url)) as store, progress_bar() as bar:
        task = bar.add_task("Exporting", total=None)
        summary = job(store, alias, file, where, lambda done, total: bar.update(task, completed=done, total=total))
    if as_json:
        print_json(summary.to_json())
    else:
        echo(
            f"{alias} → {summary.collection}: {summary.points:,} points, {len(summary.columns)} columns in {file}"
            f" ({summary.bytes / 1e6:,.1f} MB, {summary.seconds:.1f} s)"
        )
    if summary.found != summary.points:
        said = f"{summary.points:,} points were written and {summary.found:,} are there now: a job wrote meanwhile"
        print_warnings([f"{said}; run the same command again when it is done"])
