"""`retrieval tune`."""

from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.console import print_json, progress_bar, stdout, step_task
from retrieval.cli.help import ACTION, SELECTION
from retrieval.cli.options import Alias, Json, QdrantUrl
from retrieval.cli.parse import parse_share
from retrieval.errors import DEFAULT_ALIAS, with_alias

if TYPE_CHECKING:
    from rich.console import Console

    from retrieval.config import Settings
    from retrieval.reindex.tune_candidates import IndexMeasurement
    from retrieval.schema.index_config import Layout

INDEX = ("exact", "m", "ef_construct", "ef", "int8", "on_disk")
"""The settings of a layout that are tuned; shards and replicas stay as they are."""
MIN_RECALL = 0.99
MAX_P95 = 25.0


def tune(
    alias: Alias = DEFAULT_ALIAS,
    min_recall: Annotated[
        str,
        typer.Option(
            metavar="SHARE",
            rich_help_panel=SELECTION,
            help="Of the five truly nearest images, the share that searches must find.",
        ),
    ] = f"{MIN_RECALL:g}",
    max_p95: Annotated[
        float,
        typer.Option(
            min=0.1,
            metavar="MS",
            rich_help_panel=SELECTION,
            help="Maximum milliseconds that 95% of the searches may take.",
        ),
    ] = MAX_P95,
    on_disk: Annotated[
        bool,
        typer.Option(
            "--on-disk",
            rich_help_panel=SELECTION,
            help="Allow tune to choose an index on disk; it is fast only while the system's file cache holds it.",
        ),
    ] = False,
    apply: Annotated[
        bool,
        typer.Option(
            "--apply",
            rich_help_panel=ACTION,
            help="Re-index with the chosen settings; they go live only if the gate (the checks of `retrieval reindex`)"
            " passes.",
        ),
    ] = False,
    qdrant_url: QdrantUrl = None,
    as_json: Json = False,
) -> None:
    """Measure index settings for a collection and choose one.

    Makes a copy of the collection, measures it with exact search, with HNSW graphs of full and of int8 embeddings, and
    with a graph on disk, and drops the copy. Of the settings that meet --min-recall and --max-p95, tune chooses the one
    that needs the least memory; it chooses the graph on disk only with --on-disk. Needs a Qdrant server.

    $ retrieval tune --min-recall 0.99
    $ retrieval tune --apply
    """
    from retrieval.config import load_settings
    from retrieval.errors import GateRefused
    from retrieval.reindex import tune as job
    from retrieval.reindex import tune_candidates
    from retrieval.store import open_store

    least = parse_share("min_recall", min_recall)
    settings = load_settings(qdrant_url=qdrant_url)
    with open_store(settings) as store, progress_bar() as bar:
        rows = list(
            job.tune(store, alias, builds=tune_candidates.BUILDS, step=step_task(bar, "Measuring", unit="step"))
        )
    chosen = tune_candidates.choose_index(rows, least, max_p95 / 1000, on_disk=on_disk)
    if as_json:
        print_json({"chosen": chosen and chosen.to_json(), "measured": [row.to_json() for row in rows]})
    else:
        print_rows(rows, chosen, stdout())
    if chosen is None:
        raise GateRefused(
            f"no index finds {least:g} of the five nearest with a p95 of {max_p95:g} ms; allow --on-disk, or relax"
            " --min-recall, --max-p95"
        )
    if apply:
        apply_layout(alias, settings, chosen.layout, least, as_json=as_json)
    elif not as_json:
        apply_it = with_alias("retrieval tune --apply", alias)
        advice = f"{chosen.layout} is the cheapest that finds {least:g}; to use it: {apply_it}"
        stdout().print(advice, soft_wrap=True)


def print_rows(rows: "list[IndexMeasurement]", chosen: "IndexMeasurement | None", console: "Console") -> None:
    """Print all that was measured, and mark the chosen one."""
    from retrieval.cli.render.tables import print_table

    cells = [
        [
            str(row.layout),
            f"{row.recall:.4f}",
            f"{1000 * row.p50:.1f}",
            f"{1000 * row.p95:.1f}",
            f"{row.memory / 2**20:,.0f}",
            f"{row.build:,.0f}",
            "← cheapest" if row is chosen else "",
        ]
        for row in rows
    ]
    numbers = ["recall@5", "p50 ms", "p95 ms", "MiB", "built s"]
    print_table(["index", *numbers, ""], cells, numbers=numbers, console=console)


def apply_layout(alias: str, settings: "Settings", layout: "Layout", least: float, *, as_json: bool) -> None:
    """Re-index with the chosen settings; embeddings are copied, because the model stays the same."""
    from retrieval.cli.commands.reindex import run_reindex
    from retrieval.model.resolve import load_collection_model
    from retrieval.reindex.options import ReindexOptions
    from retrieval.store import open_store
    from retrieval.store.base import resolve

    with open_store(settings) as store:
        live = resolve(store, alias)
        model = load_collection_model(settings, live, store.metadata(live).model)
    index = {name: getattr(layout, name) for name in INDEX}
    run_reindex(alias, settings, ReindexOptions(layout=index, min_recall=least), model, as_json=as_json)
