"""Bring an alias's collection in line with its sources: only new and changed images are encoded."""

import contextlib
import itertools
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from retrieval.errors import NoCollection, UsageError
from retrieval.ingest.context import IngestRun, Listing, ReportRefused, ReportSummary, Target
from retrieval.ingest.forget import hint_at_forget
from retrieval.ingest.ledger import Ledger
from retrieval.ingest.options import IngestOptions
from retrieval.ingest.pipeline import fill
from retrieval.ingest.plan import PayloadUpdate, Planner, drop_payload
from retrieval.ingest.prune import check_prunable, count_removed, find_removals
from retrieval.ingest.source_identity import check_source_identity
from retrieval.ingest.summary import IngestSummary
from retrieval.model.encoder_process import ImageEncoder
from retrieval.schema.index_config import DEFAULT, Layout
from retrieval.schema.records import CollectionMeta, utc_now
from retrieval.search.calibration import fit
from retrieval.sources import Source
from retrieval.sources.base import find_passed_over
from retrieval.sources.read import Refused
from retrieval.store.base import Store, require_model, resolve
from retrieval.store.naming import next_name
from retrieval.util.reporting import ignore
from retrieval.util.signals import hold_signals


def ingest(
    store: Store,
    encoder: ImageEncoder,
    sources: Sequence[Source],
    alias: str,
    options: IngestOptions = IngestOptions(),  # noqa: B008 - frozen
    *,
    ledgers: Path,
    report: ReportSummary = ignore,
    refused: ReportRefused = ignore,
) -> IngestSummary:
    """Ingest every image of the sources into the alias's collection, which is created if there is none.

    store: the engine
    encoder: makes the embeddings
    sources: where the images are; no two have the same name
    alias: of the collection
    options: as `retrieval ingest` offers them
    ledgers: folder for the records of refused images
    report: called after each batch, with the counts so far
    refused: called with the ledger's rows of refused images, including those refused in earlier runs

    Raises ModelError for a collection of another model, UsageError for two sources of one name or too much to prune,
    SourceError for a source with no image, Locked when another job writes to the alias, RetrievalError when more than
    `max_failures` images are newly refused.
    """
    check_sources(sources, options)
    listings = []
    for source in sources:
        with hint_at_forget(source.name, alias) if options.prune else contextlib.nullcontext():
            listings.append(peek(source))
    if options.dry_run:
        found = find_collection(store, encoder, alias)
        ledger, summary = Ledger(ledgers, store.location, alias), IngestSummary(alias, found, dry_run=True)
        return rehearse(IngestRun(store, found or "", sources, options, ledger, summary), listings, report)
    with store.lock(alias) as held:
        collection = open_collection(store, encoder, alias, options.layout)
        target = Target(store, held, alias, collection, encoder, ledgers)
        summary = fill(target, listings, options, report=report, refused=refused)
        fit(store, collection)
        return summary


def rehearse(run: IngestRun, listings: Sequence[Listing], report: ReportSummary) -> IngestSummary:
    """Count what `fill` would do with the listings; opens no image and writes nothing."""
    started = time.monotonic()
    summary, planner = run.summary, Planner(run)
    if run.collection:
        check_source_identity(run.store, run.collection, run.sources)
    for page in planner.plan([listing.entries for listing in listings]):
        summary.refused += [drop_payload(item) for item in page if isinstance(item, Refused)]
        summary.unchanged += sum(isinstance(item, PayloadUpdate) for item in page)
        summary.seconds = time.monotonic() - started
        report(summary)
    summary.passed_over = {source.name: find_passed_over(source) for source in run.sources}
    if run.options.prune and run.collection:
        for removal in find_removals(planner):
            count_removed(removal.source, removal.points, summary)
    summary.seconds = time.monotonic() - started
    report(summary)
    return summary


def check_sources(sources: Sequence[Source], options: IngestOptions) -> None:
    """Raise UsageError for two sources of one name, and with `prune` for a source that cannot be pruned."""
    names = [source.name for source in sources]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(
            f"two sources are called {twice.pop()!r}",
            hint="ingest them one by one, each with its own --name",
        )
    if options.prune:
        check_prunable(sources)


def peek(source: Source) -> Listing:
    """List the source up to its first image, so that an empty source raises its SourceError here."""
    entries = source.entries()
    first = list(itertools.islice(entries, 1))
    return Listing(source, itertools.chain(first, entries))


def find_collection(store: Store, encoder: ImageEncoder, alias: str) -> str | None:
    """The alias's collection; None if there is none. Raises ModelError for a collection of another model."""
    try:
        collection = resolve(store, alias)
    except NoCollection:
        return None
    require_model(store, collection, encoder.fingerprint)
    return collection


def open_collection(store: Store, encoder: ImageEncoder, alias: str, wanted: Mapping[str, Any]) -> str:
    """The alias's collection, created if there is none.

    wanted: fields of `Layout` that it must have

    Raises ModelError for a collection of another model, UsageError for one of another layout.
    """
    if collection := find_collection(store, encoder, alias):
        check_layout(collection, store.metadata(collection).layout, wanted)
        return collection
    collection, meta = plan_collection(store, encoder, alias, merge_layout(store, DEFAULT, wanted))
    with hold_signals():  # killed between the two, the collection would have no alias and never be found
        store.create_collection(collection, meta)
        store.move_alias(alias, collection)
    return collection


def check_layout(collection: str, layout: Layout, wanted: Mapping[str, Any]) -> None:
    """Raise UsageError for a layout option that differs from the existing collection's, which cannot be changed."""
    for name, value in wanted.items():
        if (made := getattr(layout, name)) != value:
            raise UsageError(
                f"{value} was given, but {collection} was made with {made or 'the default'}",
                option=name,
                hint=f"make a new one: retrieval reindex --{name.replace('_', '-')} {value}",
            )


def merge_layout(store: Store, layout: Layout, wanted: Mapping[str, Any]) -> Layout:
    """The layout with the wanted fields replaced; raises UsageError for the embedded engine, which has no layout."""
    if wanted and store.engine == "embedded":
        raise UsageError(
            "the embedded engine is a single process without an index",
            option=next(iter(wanted)),
            hint=f"set QDRANT_URL to a server, or leave out {', '.join(wanted)}",
        )
    return replace(layout, **wanted)


def plan_collection(
    store: Store, encoder: ImageEncoder, alias: str, layout: Layout = DEFAULT
) -> tuple[str, CollectionMeta]:
    """Name and metadata of a new collection for the encoder's embeddings."""
    config = encoder.config
    name, _ = next_name(store, alias, encoder.fingerprint)
    return name, CollectionMeta(
        encoder.fingerprint, config.dim, config.image_size, config.channels, utc_now(), layout=layout, fit=config.fit
    )
