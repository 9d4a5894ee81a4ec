"""`retrieval reindex`."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.console import exit_if_refused, print_json, print_warnings, stderr, stdout, training_task
from retrieval.cli.help import ACTION, GATE, LIMITS
from retrieval.cli.job_context import Watch, watch_job
from retrieval.cli.logs import log, log_json
from retrieval.cli.options import (
    Address,
    Alias,
    AnyModel,
    Json,
    LogJson,
    MaxFailures,
    MetricsFile,
    QdrantUrl,
    Replicas,
    Runner,
    Shards,
    WriteConsistency,
    given_options,
    ray_of,
)
from retrieval.cli.parse import parse_seconds, parse_share
from retrieval.cli.render.reindex import StepReporter, print_gate, print_outcome
from retrieval.errors import DEFAULT_ALIAS, ModelError, RetrievalError, UsageError
from retrieval.ingest.options import MAX_DELETE, MAX_FAILURES
from retrieval.reindex.options import KEEP, MAX_DROP, MIN_RECALL, ReindexOptions

if TYPE_CHECKING:
    from retrieval.config import Settings
    from retrieval.model.encoder_process import EncoderProcess
    from retrieval.model.saved_models import SavedModel
    from retrieval.sources import Source

NICE = 10
"""Niceness of a re-index, so that searches on this machine come first."""


def reindex(
    alias: Alias = DEFAULT_ALIAS,
    model: AnyModel = None,
    train: Annotated[
        bool,
        typer.Option(
            "--train",
            rich_help_panel=ACTION,
            help="First train a new model on the sources, with as many dimensions as the current one.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", rich_help_panel=ACTION, help="Fill and check the new collection, but do not make it live."
        ),
    ] = False,
    keep: Annotated[
        int,
        typer.Option(
            min=0, rich_help_panel=LIMITS, help="Number of earlier collections to keep for `retrieval rollback`."
        ),
    ] = KEEP,
    min_recall: Annotated[
        str,
        typer.Option(
            metavar="SHARE",
            rich_help_panel=GATE,
            help="Of the five truly nearest images, the share that the engine must find in the new collection.",
        ),
    ] = f"{MIN_RECALL:g}",
    max_drop: Annotated[
        str,
        typer.Option(
            metavar="SHARE",
            rich_help_panel=GATE,
            help="How much lower than in the live collection these may be: the share of distorted copies that find"
            " their original among five hits, and P@5, the share of the five nearest hits that have the query's label.",
        ),
    ] = f"{MAX_DROP:.0%}",
    max_delete: Annotated[
        str,
        typer.Option(
            metavar="SHARE",
            rich_help_panel=GATE,
            help="Share by which the new collection may be smaller than the live one.",
        ),
    ] = f"{MAX_DELETE:.0%}",
    max_failures: MaxFailures = MAX_FAILURES,
    if_older_than: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            rich_help_panel=ACTION,
            help="Run only if there is a live collection and it is at least this old, like 24h.",
        ),
    ] = None,
    if_changed: Annotated[
        bool,
        typer.Option(
            "--if-changed",
            rich_help_panel=ACTION,
            help="Run only if there is a live collection, and its images, model or index settings have changed.",
        ),
    ] = False,
    shards: Shards = None,
    replicas: Replicas = None,
    write_consistency: WriteConsistency = None,
    runner: Runner = "here",
    address: Address = None,
    metrics_file: MetricsFile = None,
    json_logs: LogJson = False,
    qdrant_url: QdrantUrl = None,
    as_json: Json = False,
) -> None:
    """Build a new collection, check it, and make it live.

    Fills a new collection from the sources that the live collection (the one that is searched) records. The gate then
    checks that no images are missing, that searches find what they should, and that results are no worse than before.
    If all checks pass, the new collection goes live in one step; otherwise the live one stays, and the exit code is 5.
    Searches continue throughout. `retrieval rollback` makes the previous collection live again.

    $ retrieval reindex --train
    $ retrieval reindex --if-changed --metrics-file retrieval-reindex.prom
    """
    if train and model:
        raise UsageError(f"--train cannot be combined with --model {model}: either a model is trained, or one is given")

    from retrieval.config import load_settings
    from retrieval.model.resolve import load_model

    if json_logs:
        log_json()
    settings = load_settings(qdrant_url=qdrant_url)
    options = ReindexOptions(
        keep=keep,
        min_recall=parse_share("min_recall", min_recall),
        max_drop=parse_share("max_drop", max_drop),
        max_delete=parse_share("max_delete", max_delete),
        max_failures=max_failures,
        dry_run=dry_run,
        older_than=parse_seconds("if_older_than", if_older_than),
        if_changed=if_changed,
        fresh=train,
        layout=given_options(shards=shards, replicas=replicas, write_consistency=write_consistency),
        ray=ray_of(runner, address, settings),
    )
    given = None if train else load_model(settings, model)
    run_reindex(alias, settings, options, given, metrics_file, json_logs=json_logs, as_json=as_json)


def run_reindex(
    alias: str,
    settings: "Settings",
    options: ReindexOptions,
    given: "SavedModel | None",
    metrics_file: Path | None = None,
    *,
    json_logs: bool = False,
    as_json: bool = False,
) -> None:
    """Run the re-index with a progress bar.

    given: the model to use; None trains one on the sources.
    """
    from retrieval.model import saved_models
    from retrieval.reindex import job
    from retrieval.store import open_store
    from retrieval.store.base import dashboard_url

    with contextlib.suppress(OSError, AttributeError):  # Windows has no `nice`
        os.nice(NICE)
    log("reindex started", alias=alias)
    outcome = None
    with contextlib.ExitStack() as stack:
        watch = stack.enter_context(watch_job("reindex", alias, settings.jobs, metrics_file))
        store = stack.enter_context(open_store(settings))

        def choose(sources: Sequence["Source"]) -> "EncoderProcess":
            from retrieval.model.encoder_process import EncoderProcess

            chosen = (
                saved_models.copy_to_home(settings.models, given)
                if given
                else train_successor(sources, store.metadata(store.aliases()[alias]).model, settings, watch)
            )
            return stack.enter_context(contextlib.closing(EncoderProcess(chosen, settings.xla_cache, watch.note)))

        follow = StepReporter(watch)
        try:
            outcome = job.reindex(store, alias, choose, settings, options, step=follow)
        except RetrievalError:
            if follow.outcome and follow.outcome.gate and not json_logs:
                print_gate(follow.outcome, stderr())
            raise
        finally:
            follow.note()
        found = outcome.collection or outcome.live
        points = store.count(found) if found else 0
        location, page = store.location, None if as_json else dashboard_url(store, alias)
    if as_json:
        print_json(outcome.to_json())
    else:
        new = store.engine == "server" and outcome.model != outcome.previous_model
        model = saved_models.folder_of(settings.models, outcome.model) if new else None
        print_outcome(outcome, points, location, page, stdout(), model)
    print_warnings(outcome.warnings)
    exit_if_refused(outcome.counts.refused if outcome.counts else [], silent=json_logs)


def train_successor(sources: Sequence["Source"], before: str, settings: "Settings", watch: Watch) -> "SavedModel":
    """Train a model on the sources, with dimensions and objective of the model `before` if that is on this machine."""
    from retrieval.model import saved_models
    from retrieval.train.job import train_and_save
    from retrieval.train.options import TrainOptions

    options, old = TrainOptions(), None
    with contextlib.suppress(ModelError):  # the model is damaged: training another one fixes that
        old = saved_models.load_by_fingerprint(settings.models, before)
    if old is not None:
        options = TrainOptions(
            objective=old.metrics.get("objective", options.objective),
            preset=old.metrics.get("preset"),
            dim=old.config.dim,
            image_size=old.config.image_size,
            channels=old.config.channels,
            trunk="photos" if old.config.trunk else "none",
        )
    return train_and_save(sources, settings, options, make_default=False, training=training_task(watch.bar))[0]
