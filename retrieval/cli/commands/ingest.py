"""`retrieval ingest`."""

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from retrieval.cli.console import exit_if_refused, print_json, print_warnings, stdout
from retrieval.cli.help import ACTION, FIELDS, LIMITS, OUTPUT
from retrieval.cli.job_context import watch_job
from retrieval.cli.logs import log, log_json
from retrieval.cli.options import (
    SOURCES,
    Address,
    Alias,
    Json,
    Labels,
    LogJson,
    MaxFailures,
    MetricsFile,
    Model,
    Name,
    PublicUrl,
    QdrantUrl,
    Replicas,
    Runner,
    Shards,
    WriteConsistency,
    given_options,
    open_sources,
    ray_of,
)
from retrieval.cli.parse import parse_share
from retrieval.cli.render.ingest import errors_file, print_plan, print_summary, train_first_model
from retrieval.errors import DEFAULT_ALIAS, UsageError
from retrieval.ingest.options import MAX_DELETE, MAX_FAILURES, IngestOptions


def ingest(
    source: Annotated[list[str], typer.Argument(metavar="SOURCE", help=f"Images to store: {SOURCES}.")],
    alias: Alias = DEFAULT_ALIAS,
    name: Name = None,
    labels: Labels = None,
    metadata: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=FIELDS,
            help="CSV or Parquet file with a row for each image, whose columns are stored as fields of its payload (the"
            " data beside its embedding). If there are several sources, the column 'source' names the row's source.",
        ),
    ] = None,
    key_column: Annotated[
        str,
        typer.Option(
            metavar="COLUMN",
            rich_help_panel=FIELDS,
            help="Column of --metadata that holds the path of each row's image.",
        ),
    ] = "path",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", rich_help_panel=ACTION, help="Show what the ingest would do, and change nothing."),
    ] = False,
    train: Annotated[
        bool,
        typer.Option(
            "--train",
            rich_help_panel=ACTION,
            help="First train a model on the sources, if there is neither a model nor a collection.",
        ),
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", rich_help_panel=ACTION, help="Encode all images again, unchanged ones too.")
    ] = False,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", rich_help_panel=ACTION, help="Remove images from the collection that are gone from their source."
        ),
    ] = False,
    max_delete: Annotated[
        str,
        typer.Option(
            metavar="SHARE",
            rich_help_panel=LIMITS,
            help="Share of a source's stored images that --prune may remove without --yes.",
        ),
    ] = f"{MAX_DELETE:.0%}",
    yes: Annotated[
        bool, typer.Option("--yes", rich_help_panel=LIMITS, help="Let --prune remove more than --max-delete allows.")
    ] = False,
    retry_failed: Annotated[
        bool,
        typer.Option(
            "--retry-failed",
            rich_help_panel=ACTION,
            help="Try images again that an earlier run refused, even if they have not changed.",
        ),
    ] = False,
    errors: Annotated[
        Path | None, typer.Option(rich_help_panel=OUTPUT, help="Write the refused images to this file, as JSON lines.")
    ] = None,
    max_failures: MaxFailures = MAX_FAILURES,
    batch_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=4096,
            rich_help_panel=LIMITS,
            show_default="depends on the image size",
            help="Number of images that are encoded and written together.",
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=256,
            rich_help_panel=LIMITS,
            show_default="depends on this machine's processors; on Ray, one per GPU or else per processor",
            help="Number of workers that read images at once; with --runner ray, number of Ray actors.",
        ),
    ] = None,
    metrics_file: MetricsFile = None,
    public_url: PublicUrl = None,
    shards: Shards = None,
    replicas: Replicas = None,
    write_consistency: WriteConsistency = None,
    runner: Runner = "here",
    address: Address = None,
    json_logs: LogJson = False,
    model: Model = None,
    qdrant_url: QdrantUrl = None,
    as_json: Json = False,
) -> None:
    """Store the images of the sources; skip unchanged ones.

    Encodes new and changed images only. An image that cannot be used, such as a damaged file, is refused: ingest names
    it with the reason, stores the others, and exits with code 3. If a run is killed, the next run continues its work.

    $ retrieval ingest digits --labels folder
    $ retrieval ingest s3://bucket/scans --prune --errors refused.jsonl
    """
    if train and model:
        raise UsageError(f"--train cannot be combined with --model {model}: either a model is trained, or one is given")

    from retrieval.config import load_settings
    from retrieval.ingest import job
    from retrieval.ingest.forget import hint_at_forget
    from retrieval.ingest.metadata import load_metadata
    from retrieval.model import saved_models
    from retrieval.model.encoder_process import EncoderProcess
    from retrieval.model.resolve import model_for_writing, model_of
    from retrieval.store import open_store
    from retrieval.store.base import dashboard_url

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
        max_delete=parse_share("max_delete", max_delete),
        yes=yes,
        retry_failed=retry_failed,
        max_failures=max_failures,
        batch=batch_size,
        workers=workers,
        public_url=settings.public_url,
        layout=given_options(shards=shards, replicas=replicas, write_consistency=write_consistency),
        ray=ray_of(runner, address, settings),
    )
    log("ingest started", alias=alias, sources=[s.spec for s in sources])
    with contextlib.ExitStack() as stack:
        watch = stack.enter_context(watch_job("ingest", alias, settings.jobs, metrics_file))
        note_refused = stack.enter_context(errors_file(errors))
        store = stack.enter_context(open_store(settings))
        store.check()
        collection = store.aliases().get(alias)
        if train and not dry_run and collection is None and saved_models.default(settings.models) is None:
            saved = train_first_model(store, alias, sources, settings, watch)
        else:
            saved = (model_of if dry_run else model_for_writing)(store, collection, settings, model)
        encoder = stack.enter_context(contextlib.closing(EncoderProcess(saved, settings.xla_cache, watch.note)))
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
        print_summary(summary, points, store.location, dashboard_url(store, alias), stdout())
    if metadata and not summary.described:
        key = f"column {key_column!r} must hold the image's path relative to the root of its source (see --key-column)"
        named = f"column 'source', if present, the source's name: {', '.join(names)}"
        print_warnings([f"{metadata}: no row matches an image; {key}, and {named}"])
    exit_if_refused(summary.refused, silent=json_logs)
