"""`retrieval ingest`."""

from typing import Annotated

import typer

from retrieval.cli.common import (
    DEFAULT_ALIAS,
    Alias,
    Json,
    Labels,
    Model,
    Name,
    QdrantUrl,
    load_encoder,
    open_sources,
    print_json,
    print_refused,
    progress_bar,
    stdout,
)


def ingest(
    source: Annotated[list[str], typer.Argument(help="Folders, archives or data sets.")],
    alias: Alias = DEFAULT_ALIAS,
    name: Name = None,
    labels: Labels = None,
    model: Model = None,
    qdrant_url: QdrantUrl = None,
    as_json: Json = False,
) -> None:
    """Bring the collection in line with the sources: new and changed images are encoded, others left alone."""
    from retrieval import ingest as job
    from retrieval.config import load_settings
    from retrieval.store import open_store

    settings = load_settings(qdrant_url=qdrant_url)
    sources = open_sources(source, settings, name, labels)
    with open_store(settings) as store, progress_bar("note") as bar:
        store.check()
        encoder = load_encoder(settings, model)
        task = bar.add_task("Ingesting", total=None, note="")

        def report(s: job.Summary) -> None:
            done = s.unchanged + s.encoded + s.copied + s.failed
            rate = done / max(s.seconds, 1e-9)
            bar.update(task, completed=done, note=f"{s.unchanged:,} unchanged, {s.failed:,} refused, {rate:,.0f}/s")

        summary = job.ingest(store, encoder, sources, alias, report)
        points = store.count(summary.collection)
    if as_json:
        print_json(summary.to_json())
    else:
        stdout().print(
            f"{summary.found:,} images: {summary.encoded:,} encoded, {summary.unchanged:,} unchanged,"
            f" {summary.copied:,} copied, {summary.failed:,} refused in {summary.seconds:.1f} s\n"
            f"{alias} → {summary.collection}: {points:,} points at {store.location}\n"
            f"Next: retrieval search IMAGE" + ("" if alias == DEFAULT_ALIAS else f" --alias {alias}"),
            soft_wrap=True,
        )
    print_refused(summary.refused)
    if summary.refused:
        raise typer.Exit(3)
