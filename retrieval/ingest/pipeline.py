"""Bring a collection in line with listings: store what is new or changed, remove what is gone."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from retrieval.errors import NoCollection, RetrievalError, StoreDamaged
from retrieval.ingest.context import IngestRun, Others, ReportRefused, ReportSummary, Target
from retrieval.ingest.here import run_here
from retrieval.ingest.ledger import Ledger
from retrieval.ingest.options import IngestOptions
from retrieval.ingest.plan import Planner
from retrieval.ingest.prune import find_overlooked, prune
from retrieval.ingest.roots import check_roots
from retrieval.ingest.summary import Summary
from retrieval.schema.records import CollectionMeta
from retrieval.sources import Entry, Source
from retrieval.sources.base import passed_over
from retrieval.store.base import Store
from retrieval.util.reporting import ignore


def fill(
    target: Target,
    sources: Sequence[Source],
    listings: Sequence[Iterator[Entry]],
    options: IngestOptions,
    *,
    like: str | None = None,
    report: ReportSummary = ignore,
    refused: ReportRefused = ignore,
) -> Summary:
    """Bring the collection in line with the sources' listings.

    like: another collection: all points take over its user's fields, and its codes where the model is the same
    report: called after each batch, with the counts so far
    refused: called with the ledger's rows of refused images, old ones too

    Raises what `ingest` raises.
    """
    store, collection = target.store, target.collection
    started = time.monotonic()
    summary, ledger = Summary(target.alias, collection), Ledger(target.ledgers, store.location, target.alias)
    check_roots(store, like or collection, sources)
    meta = record_sources(store, collection, sources, options.public_url)
    theirs = store.metadata(like) if like else meta
    same_model = like is not None and theirs.model == target.encoder.fingerprint
    run = IngestRun(
        store,
        collection,
        sources,
        replace(options, public_url=meta.public_url),
        ledger,
        summary,
        Others(like, same_model, find_readable(store, theirs.left)),
        refused,
    )
    planner = Planner(run)

    def tell() -> None:
        summary.seconds = time.monotonic() - started
        report(summary)

    with contextlib.ExitStack() as stack:
        stack.callback(lambda: ledger.close({source.name for source in sources if summary.listed}))
        if options.ray:
            from retrieval.ingest.ray.driver import run_on_ray

            done = run_on_ray(target, planner, options.ray)
        else:
            done = run_here(target, planner, listings)
        for _ in stack.enter_context(contextlib.closing(done)):
            check_failures(summary, options)
            tell()
        if options.prune and (missed := find_overlooked(planner)):
            for _ in stack.enter_context(contextlib.closing(run_here(target, planner, [iter(missed)]))):
                tell()
        summary.passed_over = {} if options.ray else {source.name: passed_over(source) for source in sources}
        ledger.write_passed_over(summary.passed_over)
        if options.prune:
            prune(planner, target.held)
        tell()
    return summary


def record_sources(
    store: Store, collection: str, sources: Sequence[Source], public_url: str | None = None
) -> CollectionMeta:
    """Note in the metadata where each source is now, so that its images can be found again, and the public URL.

    A single file of a folder that is known already does not replace the folder. Returns the metadata.
    """
    meta = store.metadata(collection)
    new = {source.name: source.spec for source in sources if source.whole or source.name not in meta.sources}
    roots = {source.name: source.place() for source in sources if source.whole or source.name not in meta.roots}
    labelled = {*meta.labelled, *(source.name for source in sources if source.labels)}
    known = replace(
        meta,
        sources={**meta.sources, **new},
        roots={**meta.roots, **roots},
        labelled=tuple(sorted(labelled)),
        public_url=public_url or meta.public_url,
    )
    if known != meta:
        store.set_metadata(collection, known)
    return known


def find_readable(store: Store, collections: Sequence[str]) -> list[str]:
    """The collections that still exist and are not damaged; a damaged one is unused, and is not worth a failure."""
    found = []
    for name in collections:
        with contextlib.suppress(NoCollection, StoreDamaged):
            store.count(name)
            found.append(name)
    return found


def check_failures(summary: Summary, options: IngestOptions) -> None:
    """Raise RetrievalError when more images were newly refused than the options allow."""
    if summary.newly_refused > options.max_failures:
        first = next(item for item in summary.refused if not item.again)
        raise RetrievalError(
            f"stopped: {summary.newly_refused:,} images refused, at most {options.max_failures:,} may be; one is"
            f" {first.entry.source}/{first.entry.key}: {first.reason}; what is stored stays",
            option="max_failures",
            hint="is the disk all right?",
        )
