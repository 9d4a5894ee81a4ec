"""`retrieval ingest`."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from retrieval.cli.common import (
    DEFAULT_ALIAS,
    SOURCES,
    Address,
    Alias,
    Json,
    Labels,
    Model,
    Name,
    PublicUrl,
    QdrantUrl,
    Replicas,
    Runner,
    Shards,
    WriteConsistency,
    chosen,
    end_with,
    open_sources,
    print_json,
    print_warnings,
    ray_of,
    stdout,
)
from retrieval.cli.ingesting import errors_to, first_model, print_plan, print_summary
from retrieval.cli.logs import log, log_json
from retrieval.cli.values import parse_share
from retrieval.cli.watching import watched
from retrieval.errors import UsageError
from retrieval.ingest.options import MAX_DELETE, MAX_FAILURES, IngestOptions


def ingest(
    source: Annotated[list[str], typer.Argument(help=f"Images to store: {SOURCES}.")],
    alias: Alias = DEFAULT_ALIAS,
    name: Name = None,
    labels: Labels = None,
    metadata: Annotated[
        Path | None,
        typer.Option(
            help="A CSV or Parquet file whose columns become fields of the images' payload; with several sources, its"
            " column source says whose image a row is."
        ),
    ] = None,
    key_column: Annotated[str, typer.Option(help="The column of --metadata that holds an image's key.")] = "path",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    train: Annotated[
        bool,
        typer.Option(
            "--train", help="Train a model on the sources first, where there is neither one nor a collection yet."
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Encode every image again.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove the points of images that are gone from their source.")
    ] = False,
    max_delete: Annotated[
        str, typer.Option(help="Share of a source's points that --prune may remove without --yes.")
    ] = f"{MAX_DELETE:.0%}",
    yes: Annotated[bool, typer.Option("--yes", help="Let --prune remove more than --max-delete.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Open images again that were refused and have not changed since.")
    ] = False,
    errors: Annotated[Path | None, typer.Option(help="Write the refused images to this file, as JSON lines.")] = None,
    max_failures: Annotated[
        int, typer.Option(min=0, help="Newly refused images at most; one more stops the run.")
    ] = MAX_FAILURES,
    batch_size: Annotated[
        int | None, typer.Option(min=1, max=4096, help="Images encoded and written together; else by their size.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Workers: readers here, or actors on a Ray cluster; else as many as pay."),
    ] = None,
    metrics_file: Annotated[
        Path | None, typer.Option(help="Write the run's numbers to this file, as Prometheus text.")
    ] = None,
    public_url: PublicUrl = None,
    shards: Shards = None,
    replicas: Replicas = None,
    write_consistency: WriteConsistency = None,
    runner: Runner = "here",
    address: Address = None,
    json_logs: Annotated[bool, typer.Option("--log-json", help="Log to stderr as JSON lines.")] = False,
    model: Model = None,
    qdrant_url: QdrantUrl = None,
    as_json: Json = False,
) -> None:
    """Bring the collection in line with the sources, encoding only new and changed images."""
    if train and model:
        raise UsageError(f"--train with --model {model}: the model is either trained now or there already; give one")

    from retrieval import checkpoint
    from retrieval.config import load_settings
    from retrieval.ingest import job
    from retrieval.ingest.encoder import LateEncoder
    from retrieval.ingest.forget import hint_at_forget
    from retrieval.ingest.metadata import load_metadata
    from retrieval.loading import model_of, to_write
    from retrieval.store import open_store
    from retrieval.store.base import dashboard

    if json_logs:
        log_json()
    settings = load_settings(qdrant_url=qdrant_url, public_url=public_url)
    with hint_at_forget(name or "NAME", alias) if prune else contextlib.nullcontext():
        sources = open_sources(source, settings, name, labels)
    names = [each.name for each in sources]
    options = IngestOptions(
        metadata=load_metadata(metadata, key_column, names) if metadata else {},
        dry_run=dry_run,
        force=force,
        prune=prune,
        max_delete=parse_share("--max-delete", max_delete),
        yes=yes,
        retry_failed=retry_failed,
        max_failures=max_failures,
        batch=batch_size,
        workers=workers,
        public_url=settings.public_url,
        layout=chosen(shards=shards, replicas=replicas, write_consistency=write_consistency),
        ray=ray_of(runner, address, settings),
    )
    log("ingest started", alias=alias, sources=[s.spec for s in sources])
    with contextlib.ExitStack() as stack:
        watch = stack.enter_context(watched("ingest", alias, settings.jobs, metrics_file))
        note_refused = stack.enter_context(errors_to(errors))
        store = stack.enter_context(open_store(settings))
        store.check()
        collection = store.aliases().get(alias)
        if train and not dry_run and collection is None and checkpoint.default(settings.models) is None:
            saved = first_model(store, alias, sources, settings, watch)
        else:
            saved = (model_of if dry_run else to_write)(store, collection, settings, model)
        encoder = stack.enter_context(contextlib.closing(LateEncoder(saved, settings.xla_cache)))
        watch.facts["model"] = encoder.fingerprint
        summary = job.ingest(
            store, encoder, sources, alias, options, ledgers=settings.refused, report=watch.report, refused=note_refused
        )
        points = store.count(summary.collection) if summary.collection else 0
    if as_json:
        print_json(summary.to_json())
    elif dry_run:
        print_plan(summary, stdout())
    else:
        print_summary(summary, points, store.location, dashboard(store, alias), stdout())
    if metadata and not summary.described:
        key = f"{key_column!r} must hold its path below the root of its source (or name another --key-column)"
        named = f"'source', if there is such a column, the source's name, here {', '.join(names)}"
        print_warnings([f"{metadata}: none of its rows is an image's; {key}, and {named}"])
    end_with(summary.refused, silent=json_logs)
