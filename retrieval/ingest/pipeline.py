"""Bring a collection in line with listings: list and compare → read, hash, decode → encode → write → remove.

The first four stages run concurrently, connected by bounded queues.
"""

import contextlib
import itertools
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import replace

from retrieval.errors import Locked, NoCollection, RetrievalError, StoreDamaged, StoreError
from retrieval.ingest.batches import Batch, BatchEncoder, Item, choose_batch_size, write_batch
from retrieval.ingest.context import IngestRun, Listing, OtherCollections, ReportRefused, ReportSummary, Target
from retrieval.ingest.ledger import Ledger
from retrieval.ingest.options import IngestOptions
from retrieval.ingest.plan import Copied, Page, PayloadUpdate, Planner, ToOpen
from retrieval.ingest.prune import find_overlooked, prune
from retrieval.ingest.source_identity import check_source_identity
from retrieval.ingest.summary import IngestSummary
from retrieval.model.encoder_process import ImageEncoder, warm_up
from retrieval.model.lazy_encoder import FEW
from retrieval.schema.records import CollectionMeta
from retrieval.sources import Entry, Source
from retrieval.sources.base import find_passed_over
from retrieval.sources.read import Refused, read_images
from retrieval.store.base import Held, Store
from retrieval.util.prefetch import prefetch
from retrieval.util.reporting import ignore
from retrieval.util.signals import hold_signals

PAGES_AHEAD = 2


def fill(
    target: Target,
    listings: Sequence[Listing],
    options: IngestOptions,
    *,
    like: str | None = None,
    report: ReportSummary = ignore,
    refused: ReportRefused = ignore,
) -> IngestSummary:
    """Bring the collection in line with the sources' listings.

    target: the collection
    listings: one for each source
    options: as `retrieval ingest` offers them
    like: another collection, whose users' fields all points take over, and whose embeddings if the model is the same
    report: called after each batch, with the counts so far
    refused: called with the ledger's rows of refused images, including those refused in earlier runs

    Raises what `ingest` raises.
    """
    store, collection, sources = target.store, target.collection, [listing.source for listing in listings]
    started = time.monotonic()
    summary, ledger = IngestSummary(target.alias, collection), Ledger(target.ledgers, store.location, target.alias)
    check_source_identity(store, like or collection, sources)
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
        OtherCollections(like, same_model, find_readable(store, theirs.left)),
        refused,
    )
    planner = Planner(run)

    def report_progress() -> None:
        summary.seconds = time.monotonic() - started
        report(summary)

    with closed_ledger(run, target.held), contextlib.ExitStack() as stack:
        if options.ray:
            from retrieval.ingest.ray.driver import run_on_ray

            done = run_on_ray(target, planner, listings, options.ray)
        else:
            done = run_here(target, planner, [listing.entries for listing in listings])
        for _ in stack.enter_context(contextlib.closing(done)):
            check_failures(summary, options)
            report_progress()
        if options.prune and (missed := find_overlooked(planner)):
            for _ in stack.enter_context(contextlib.closing(run_here(target, planner, [iter(missed)]))):
                report_progress()
        summary.passed_over = {source.name: find_passed_over(source) for source in sources}
        ledger.write_passed_over(summary.passed_over)
        if options.prune:
            prune(planner, target.held)
        report_progress()
    return summary


@contextlib.contextmanager
def closed_ledger(run: IngestRun, held: Held) -> Iterator[None]:
    """Close the ledger after the block, also after an error, but not if the lock is lost: then its rows are another's.

    Raises Locked.
    """
    try:
        yield
        held.check()
    except Locked:
        raise
    except BaseException:
        with contextlib.suppress(StoreError):
            held.check()
            close_ledger(run)
        raise
    close_ledger(run)


def close_ledger(run: IngestRun) -> None:
    """Drop the rows of images that are gone from the sources whose listings were complete."""
    run.ledger.close({source.name for source in run.sources if run.summary.listed})


def record_sources(
    store: Store, collection: str, sources: Sequence[Source], public_url: str | None = None
) -> CollectionMeta:
    """Record in the metadata where each source is now, so that its images can be found again, and the public URL.

    If a single file of a known folder is ingested, the folder stays recorded. Returns the metadata.
    """
    meta = store.metadata(collection)
    new = {source.name: source.spec for source in sources if source.whole or source.name not in meta.sources}
    roots = {source.name: source.identify() for source in sources if source.whole or source.name not in meta.roots}
    labelled = {*meta.labelled, *(source.name for source in sources if source.labels)}
    known = replace(
        meta,
        sources={**meta.sources, **new},
        roots={**meta.roots, **roots},
        labelled=tuple(sorted(labelled)),
        public_url=public_url or meta.public_url,
    )
    # always on a server: what one says may be in its memory only, if its disk was full when it was told
    if known != meta or store.server:
        store.set_metadata(collection, known)
    return known


def find_readable(store: Store, collections: Sequence[str]) -> list[str]:
    """Those of the collections that exist and are not damaged; none of them is live, so damage is not an error."""
    found = []
    for name in collections:
        with contextlib.suppress(NoCollection, StoreDamaged):
            store.count(name)
            found.append(name)
    return found


def check_failures(summary: IngestSummary, options: IngestOptions) -> None:
    """Raise RetrievalError when more images were newly refused than the options allow."""
    if summary.newly_refused > options.max_failures:
        first = next(item for item in summary.refused if not item.again)
        raise RetrievalError(
            f"stopped: {summary.newly_refused:,} images refused, at most {options.max_failures:,} are allowed; the"
            f" first is {first.entry.name}: {first.reason}; what was stored is kept",
            option="max_failures",
            hint="check the disk or the mount",
        )


def run_here(target: Target, planner: Planner, listings: Sequence[Iterator[Entry]]) -> Generator[None]:
    """Store the listed images in the target, in this process; yields after each written batch."""
    with contextlib.closing(make_batches(target, planner, listings)) as batches:
        for batch in batches:
            with hold_signals():
                store_batch(planner.run, target.held, batch)
            yield


def store_batch(run: IngestRun, held: Held, batch: Batch) -> None:
    """Store a batch and record its refused images. Raises Locked, before it writes anything, when the lock is lost."""
    held.check()
    write_batch(run, batch)
    run.ledger.settle(batch.entries)
    if batch.refused:
        run.report_refused(run.ledger.add(batch.refused))


def make_batches(target: Target, planner: Planner, listings: Sequence[Iterator[Entry]]) -> Generator[Batch]:
    """Read, decode and encode the listed images; yields batches to write."""
    options, encoder, config = planner.run.options, target.encoder, target.encoder.config
    portable = all(source.portable for source in planner.run.sources)
    with contextlib.closing(prefetch(planner.plan(listings), PAGES_AHEAD)) as pages:
        todo: Iterator[ToOpen | PayloadUpdate | Copied | Refused | None]
        todo = itertools.chain.from_iterable([*page, None] for page in warm_up_for_many(pages, encoder))
        items: Iterator[Item] = read_images(todo, config.shape, workers=options.workers, portable=portable)
        made = BatchEncoder(planner.run, encoder).make_batches(items, choose_batch_size(config, options))
        with contextlib.closing(prefetch(made, 1)) as batches:
            yield from batches


def warm_up_for_many(pages: Iterable[Page], encoder: ImageEncoder) -> Iterator[Page]:
    """Pass the pages on, and start JAX once more than FEW images have to be opened."""
    cold, opened = True, 0
    for page in pages:
        opened += sum(isinstance(item, ToOpen) for item in page)
        if cold and opened > FEW:
            cold = False
            warm_up(encoder)
        yield page
