"""`retrieval tune`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.common import (
    DEFAULT_ALIAS,
    Alias,
    Json,
    QdrantUrl,
    print_json,
    progress_bar,
    stdout,
)
from retrieval.cli.values import parse_share
from retrieval.errors import with_alias

if TYPE_CHECKING:
    from rich.console import Console

    from retrieval.config import Settings
    from retrieval.layout import Layout
    from retrieval.tune.choices import Measured

INDEX = ("exact", "m", "ef_construct", "ef", "int8", "on_disk")
"""Of a layout, what is tuned; how many peers hold it stays."""
MIN_RECALL = 0.99
MAX_P95 = 25.0


def tune(
    alias: Alias = DEFAULT_ALIAS,
    min_recall: Annotated[
        str, typer.Option(help="Share of the true five nearest that must be found.")
    ] = f"{MIN_RECALL:g}",
    max_p95: Annotated[
        float, typer.Option(min=0.1, metavar="MS", help="Milliseconds in which 95% of searches must be answered.")
    ] = MAX_P95,
    on_disk: Annotated[
        bool, typer.Option("--on-disk", help="Also choose among those that keep all in files and count on their cache.")
    ] = False,
    apply: Annotated[
        bool, typer.Option("--apply", help="Make it so, by a re-index that is swapped in once it has passed its gate.")
    ] = False,
    png: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw the plot to this file too.")] = None,
    qdrant_url: QdrantUrl = None,
    as_json: Json = False,
) -> None:
    """Measure indexes on a copy of the collection, and choose the cheapest that finds enough."""
    from retrieval.cli.plots import draw, show
    from retrieval.config import load_settings
    from retrieval.errors import GateRefused
    from retrieval.store import open_store
    from retrieval.tune import choices, job

    least = parse_share("--min-recall", min_recall)
    settings = load_settings(qdrant_url=qdrant_url)
    with open_store(settings) as store, progress_bar() as bar:
        task = bar.add_task("tune", total=None)

        def step(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        rows = list(job.tune(store, alias, builds=choices.BUILDS, step=step))
    chosen = choices.choose(rows, least, max_p95 / 1000, on_disk=on_disk)
    if png:
        draw(png, rows, least, chosen)
    if as_json:
        print_json({"chosen": chosen and chosen.to_json(), "measured": [row.to_json() for row in rows]})
    else:
        print_rows(rows, chosen, stdout())
        show(rows, least, chosen, stdout())
    if chosen is None:
        raise GateRefused(
            f"none finds {least:g} of the five nearest with a p95 of {max_p95:g} ms; allow --on-disk, or ask for less:"
            " --min-recall, --max-p95"
        )
    if apply:
        apply_layout(alias, settings, chosen.layout, least, as_json=as_json)
    elif not as_json:
        apply_it = with_alias("retrieval tune --apply", alias)
        said = f"{chosen.layout} is the cheapest that finds {least:g}; to have it: {apply_it}"
        stdout().print(said, soft_wrap=True)


def print_rows(rows: "list[Measured]", chosen: "Measured | None", console: "Console") -> None:
    """All that was measured, the chosen one marked."""
    from retrieval.cli.tables import print_table

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
    """By a re-index, with its lock, gate, history and way back; codes are copied, since the model is the same."""
    from retrieval.cli.reindex import run
    from retrieval.loading import collections_model
    from retrieval.reindex.options import ReindexOptions
    from retrieval.store import open_store
    from retrieval.store.base import resolve

    with open_store(settings) as store:
        live = resolve(store, alias)
        model = collections_model(settings, live, store.metadata(live).model)
    index = {name: getattr(layout, name) for name in INDEX}
    run(alias, settings, ReindexOptions(layout=index, min_recall=least), model, as_json=as_json)
