"""`retrieval export`."""

from pathlib import Path
from typing import Annotated

import typer

from retrieval.cli.console import SHOWN_REFUSALS, count_task, echo, print_json, print_warnings, progress_bar
from retrieval.cli.help import SELECTION
from retrieval.cli.options import Alias, Json, QdrantUrl
from retrieval.errors import DEFAULT_ALIAS, REFUSED
from retrieval.util.wording import count_of


def export(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="File to write, .parquet or .npz; replaced if it exists.")
    ],
    where: Annotated[
        str | None,
        typer.Option(
            metavar="FILTER",
            rich_help_panel=SELECTION,
            help="Export only points that match this filter, like 'label=7'.",
        ),
    ] = None,
    images: Annotated[
        bool,
        typer.Option(
            "--images",
            rich_help_panel=SELECTION,
            help="Also write the image files, to a Parquet file, in a column that Hugging Face's `datasets` decodes.",
        ),
    ] = False,
    alias: Alias = DEFAULT_ALIAS,
    qdrant_url: QdrantUrl = None,
    as_json: Json = False,
) -> None:
    """Write ids, embeddings and payloads to one file.

    A point is what is stored for an image: its id, its embedding, and its payload (source, path, label and other
    fields). Both engines give the same file, and the model is not needed. If a job writes during the export, the file
    may hold only a part of what it writes.

    $ retrieval export embeddings.parquet --images
    $ retrieval export sevens.npz --where 'label=7'
    """
    from retrieval.config import load_settings
    from retrieval.ops.export import export as job
    from retrieval.sources.open import open_known
    from retrieval.store import open_store
    from retrieval.store.base import resolve

    settings = load_settings(qdrant_url=qdrant_url)
    with open_store(settings) as store, progress_bar() as bar:
        sources = open_known(store.metadata(resolve(store, alias)).sources, settings) if images else None
        summary = job(store, alias, file, where, count_task(bar, "Exporting", unit="point"), sources)
    if as_json:
        print_json(summary.to_json())
    else:
        echo(
            f"{alias} → {summary.collection}: {count_of(summary.points, 'point')},"
            f" {count_of(len(summary.columns), 'column')} in {file}"
            f" ({summary.bytes / 1e6:,.1f} MB, {summary.seconds:.1f} s)"
        )
    if summary.found != summary.points:
        problem = (
            f"{count_of(summary.points, 'point')} written, but {summary.found:,} are there now: a job wrote during the"
            " export"
        )
        print_warnings([f"{problem}; rerun the command when the job is done"])
    if summary.failed:
        for each in summary.refused[:SHOWN_REFUSALS]:
            echo(f"refused: {each['source']}/{each['path']}: {each['reason']}", err=True)
        print_warnings([f"{count_of(summary.failed, 'image')} could not be read and are null in {file}"])
        raise typer.Exit(REFUSED)
