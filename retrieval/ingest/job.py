"""Bring an alias's collection in line with its sources: new and changed images are encoded, all others left alone."""

import contextlib
import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from retrieval.errors import NoCollection, UsageError
from retrieval.ingest.context import IngestRun, ReportRefused, ReportSummary, Target
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
from retrieval.sources import Entry, Source
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
    """Ingest every image of the sources into the alias's collection, which is made when there is none.

    store: the engine
    encoder: makes the codes
    sources: where the images are; each with a name of its own
    alias: of the collection
    options: as `retrieval ingest` offers them
    ledgers: folder for the records of refused images
    report: called after each batch, with the counts so far
    refused: called with the ledger's rows of refused images, old ones too

    Raises ModelError when the collection was made by another model, UsageError for two sources of one name or too
    much to prune, SourceError for a source with no image, Locked when another job writes to the alias,
    RetrievalError when more than `max_failures` images are newly refused.
    """
    check_sources(sources, options)
    listings = []
    for source in sources:
        with hint_at_forget(source.name, alias) if options.prune else contextlib.nullcontext():
            listings.append(peek(source.entries()))
    if options.dry_run:
        found = find_collection(store, encoder, alias)
        ledger, summary = Ledger(ledgers, store.location, alias), IngestSummary(alias, found, dry_run=True)
        return rehearse(IngestRun(store, found or "", sources, options, ledger, summary), listings, report)
    with store.lock(alias) as held:
        collection = open_collection(store, encoder, alias, options.layout)
        target = Target(store, held, alias, collection, encoder, ledgers)
        summary = fill(target, sources, listings, options, report=report, refused=refused)
        fit(store, collection)
        return summary


def rehearse(run: IngestRun, listings: Sequence[Iterator[Entry]], report: ReportSummary) -> IngestSummary:
    """Go over the listings and count what `fill` would do."""
    started = time.monotonic()
    summary, planner = run.summary, Planner(run)
    if run.collection:
        check_source_identity(run.store, run.collection, run.sources)
    for page in planner.plan(listings):
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
    """Raise UsageError for two sources of one name, and for one that cannot be pruned when that is asked."""
    names = [source.name for source in sources]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(
            f"two sources are called {twice.pop()!r}",
            hint="ingest them one by one, each with its own --name",
        )
    if options.prune:
        check_prunable(sources)


def peek(entries: Iterator[Entry]) -> Iterator[Entry]:
    """The same entries, the first of them listed already: an empty source raises its SourceError here."""
    first = list(itertools.islice(entries, 1))
    return itertools.chain(first, entries)


def find_collection(store: Store, encoder: ImageEncoder, alias: str) -> str | None:
    """The alias's collection, None when there is none yet; raises ModelError for another model's."""
    try:
        collection = resolve(store, alias)
    except NoCollection:
        return None
    require_model(store, collection, encoder.fingerprint)
    return collection


def open_collection(store: Store, encoder: ImageEncoder, alias: str, wanted: Mapping[str, Any]) -> str:
    """The alias's collection, made and named when there is none.

    Raises ModelError for another model's, UsageError for one whose layout is not the wanted one.
    """
    if collection := find_collection(store, encoder, alias):
        check_layout(collection, store.metadata(collection).layout, wanted)
        return collection
    collection, meta = plan_collection(store, encoder, alias, merge_layout(store, DEFAULT, wanted))
    with hold_signals():  # a collection without its alias would never be found
        store.create_collection(collection, meta)
        store.move_alias(alias, collection)
    return collection


def check_layout(collection: str, layout: Layout, wanted: Mapping[str, Any]) -> None:
    """Raise UsageError for an option that the collection was not made with: only a new one can be."""
    for name, value in wanted.items():
        if (made := getattr(layout, name)) != value:
            raise UsageError(
                f"{value} was asked for, and {collection} was made with {made or 'what suited the peers'}",
                option=name,
                hint=f"make another with: retrieval reindex --{name.replace('_', '-')} {value}",
            )


def merge_layout(store: Store, layout: Layout, wanted: Mapping[str, Any]) -> Layout:
    """The layout with the wanted fields; raises UsageError where the engine has no such thing."""
    if wanted and store.engine == "embedded":
        raise UsageError(
            "the embedded engine is one process that compares every code",
            option=next(iter(wanted)),
            hint=f"set QDRANT_URL to a server, or leave out {', '.join(wanted)}",
        )
    return replace(layout, **wanted)


def plan_collection(
    store: Store, encoder: ImageEncoder, alias: str, layout: Layout = DEFAULT
) -> tuple[str, CollectionMeta]:
    """Name and metadata of a new collection for the encoder's codes."""
    config = encoder.config
    name, _ = next_name(store, alias, encoder.fingerprint)  # its time may lie in the future, so that names are in order
    return name, CollectionMeta(
        encoder.fingerprint, config.dim, config.image_size, config.channels, utc_now(), layout=layout
    )
