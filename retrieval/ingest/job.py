"""Bring a collection in line with its sources: new and changed images are encoded, all others left alone.

List and compare → read, hash, decode → encode → write: four stages that work at the same time, each as far ahead of
the next as a bounded queue lets it.
"""

import contextlib
import datetime as dt
import itertools
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from retrieval.errors import NoCollection, RetrievalError, UsageError
from retrieval.ingest.ahead import ahead
from retrieval.ingest.encoded import Batch, Coder, Item
from retrieval.ingest.encoder import Encoding, warm
from retrieval.ingest.interrupt import finishing
from retrieval.ingest.ledger import Ledger, Row
from retrieval.ingest.options import Options
from retrieval.ingest.plan import Page, Planner, Touched
from retrieval.ingest.prune import check_prunable, prune
from retrieval.ingest.summary import Summary
from retrieval.reading import Refused, read_pictures
from retrieval.records import CollectionMeta
from retrieval.sources import Entry, Source
from retrieval.store.base import Held, Store, collection_name, require_model, resolve

BATCH = 256
"""Images encoded and written together: a full load for the encoder's threads, and for the engines. Three batches are
in flight at most, so that a kill wastes the encoding of 768 images."""
BATCH_BYTES = 64 * 2**20
"""Of larger images a batch has fewer."""
PAGES_AHEAD = 2

Report = Callable[[Summary], None]


def ingest(
    store: Store,
    encoder: Encoding,
    sources: Sequence[Source],
    alias: str,
    options: Options = Options(),  # noqa: B008 - frozen
    *,
    ledgers: Path,
    report: Report = lambda summary: None,
    refused: Callable[[list[Row]], None] = lambda rows: None,
) -> Summary:
    """Ingest every image of the sources into the alias's collection, which is made when there is none.

    ledgers: folder for the records of refused images · report: called after each batch ·
    refused: called with the ledger's rows of the images refused, old ones too.

    Raises ModelError when the collection was made by another model, UsageError for two sources of one name or too
    much to prune, SourceError for a source with no image, Locked when another job writes to the alias,
    RetrievalError when more than `max_failures` images are newly refused.
    """
    check_sources(sources, options)
    started = time.monotonic()
    listings = [begun(source.entries()) for source in sources]
    with contextlib.ExitStack() as stack:
        held = None if options.dry_run else stack.enter_context(store.lock(alias))
        collection = existing(store, encoder, alias) if options.dry_run else open_collection(store, encoder, alias)
        summary = Summary(alias, collection, options.dry_run)
        ledger = Ledger(ledgers, store.location, alias)
        planner = Planner(store, collection, options, ledger, summary)

        def tell() -> None:
            summary.seconds = time.monotonic() - started
            report(summary)

        if collection is None or held is None:
            rehearse(planner, listings, summary, tell)
        else:
            remember_sources(store, collection, sources)
            stack.callback(lambda: ledger.close({source.name for source in sources if summary.listed}))
            coder = Coder(store, collection, encoder, planner, options)
            portable = all(source.portable for source in sources)
            made = batches(planner, coder, encoder, listings, options, portable)
            stack.enter_context(contextlib.closing(made))
            for batch in made:
                with finishing():
                    write(store, held, collection, batch, summary, ledger, refused)
                check_failures(summary, options)
                tell()
        if options.prune and collection is not None:
            if held:
                held.check()
            prune(store, collection, sources, planner, options, summary)
        tell()
    return summary


def check_sources(sources: Sequence[Source], options: Options) -> None:
    """Raise UsageError for two sources of one name, and for one that cannot be pruned when that is asked."""
    names = [source.name for source in sources]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"two sources are called {twice.pop()!r}; ingest them one by one, each with its own --name")
    if options.prune:
        check_prunable(sources)


def begun(entries: Iterator[Entry]) -> Iterator[Entry]:
    """The same entries; an empty source raises its SourceError here, before anything is written."""
    first = list(itertools.islice(entries, 1))
    return itertools.chain(first, entries)


def existing(store: Store, encoder: Encoding, alias: str) -> str | None:
    """The alias's collection, None when there is none yet; raises ModelError for another model's."""
    try:
        collection = resolve(store, alias)
    except NoCollection:
        return None
    require_model(store, collection, encoder.fingerprint)
    return collection


def open_collection(store: Store, encoder: Encoding, alias: str) -> str:
    """The alias's collection, made and named when there is none; raises ModelError for another model's."""
    if collection := existing(store, encoder, alias):
        return collection
    now = dt.datetime.now(dt.UTC)
    collection = collection_name(alias, encoder.fingerprint, now)
    config = encoder.config
    created = now.isoformat(timespec="seconds")
    meta = CollectionMeta(encoder.fingerprint, config.dim, config.image_size, config.channels, created)
    with finishing():  # nobody would ever find a collection without its alias
        store.create_collection(collection, meta)
        store.move_alias(alias, collection)
    return collection


def remember_sources(store: Store, collection: str, sources: Sequence[Source]) -> None:
    """Note in the metadata where each source lies now, so that its pictures can be found again.

    A single file of a folder that is known already does not take the folder's place.
    """
    meta = store.metadata(collection)
    new = {source.name: source.spec for source in sources if source.whole or source.name not in meta.sources}
    specs = {**meta.sources, **new}
    if specs != dict(meta.sources):
        store.set_metadata(collection, replace(meta, sources=specs))


def rehearse(planner: Planner, listings: Sequence[Iterator[Entry]], summary: Summary, tell: Callable[[], None]) -> None:
    """Go over the listings and count."""
    for page in planner.pages(listings):
        summary.refused += [item for item in page if isinstance(item, Refused)]
        summary.unchanged += sum(isinstance(item, Touched) for item in page)
        tell()


def batches(
    planner: Planner,
    coder: Coder,
    encoder: Encoding,
    listings: Sequence[Iterator[Entry]],
    options: Options,
    portable: bool,
) -> Generator[Batch]:
    """The pipeline: what is to be written, one batch after the other."""
    size, channels = encoder.config.image_size, encoder.config.channels
    batch = options.batch or max(1, min(BATCH, BATCH_BYTES // (size[0] * size[1] * channels)))
    pages = ahead(planner.pages(listings), PAGES_AHEAD)
    with contextlib.closing(pages):
        todo: Iterator[Entry | Touched | Refused] = itertools.chain.from_iterable(warming(pages, encoder))
        items: Iterator[Item] = read_pictures(todo, size, channels, workers=options.workers, portable=portable)
        with contextlib.closing(ahead(coder.batches(items, batch), 1)) as made:
            yield from made


def warming(pages: Iterable[Page], encoder: Encoding) -> Iterator[Page]:
    """The same pages; the first image that is to be opened makes the encoder get ready."""
    cold = True
    for page in pages:
        if cold and any(isinstance(item, Entry) for item in page):
            cold = False
            warm(encoder)
        yield page


def write(
    store: Store,
    held: Held,
    collection: str,
    batch: Batch,
    summary: Summary,
    ledger: Ledger,
    refused: Callable[[list[Row]], None],
) -> None:
    """Store one batch, then count it: what the summary says is done is done."""
    held.check()
    store.upsert(collection, batch.points)
    store.set_payload(collection, batch.payloads)
    ledger.settle(batch.entries)
    if batch.refused:
        refused(ledger.add(batch.refused))
        summary.refused += batch.refused
        summary.newly_refused += sum(not item.again for item in batch.refused)
    summary.encoded += len(batch.points) - batch.copied
    summary.copied += batch.copied
    summary.unchanged += len(batch.payloads)


def check_failures(summary: Summary, options: Options) -> None:
    """Raise RetrievalError when more images were newly refused than the options allow."""
    if summary.newly_refused > options.max_failures:
        first = next(item for item in summary.refused if not item.again)
        raise RetrievalError(
            f"stopped: {summary.newly_refused:,} images refused, --max-failures is {options.max_failures:,}; one is"
            f" {first.entry.source}/{first.entry.key}: {first.reason}. Is the disk all right? What is stored stays"
        )
