"""The pipeline: list and compare → read, hash, decode → encode → write.

Four stages that work at the same time, each as far ahead of the next as a bounded queue lets it.
"""

import contextlib
import itertools
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from retrieval.errors import RetrievalError
from retrieval.ingest.ahead import ahead
from retrieval.ingest.encoded import Batch, Coder, Item
from retrieval.ingest.encoder import Encoding, warm
from retrieval.ingest.interrupt import finishing
from retrieval.ingest.ledger import Ledger, Row
from retrieval.ingest.options import Options
from retrieval.ingest.plan import Page, Planner, Touched
from retrieval.ingest.prune import prune
from retrieval.ingest.summary import Summary
from retrieval.reading import Refused, read_pictures
from retrieval.records import CollectionMeta
from retrieval.sources import Entry, Source
from retrieval.store.base import Held, Store

BATCH = 256
"""Images encoded and written together: a full load for the encoder's threads, and for the engines. Three batches are
in flight at most, so that a kill wastes the encoding of 768 images."""
BATCH_BYTES = 64 * 2**20
"""Of larger images a batch has fewer."""
PAGES_AHEAD = 2

Report = Callable[[Summary], None]


@dataclass(frozen=True, slots=True)
class Target:
    """What a run fills: a collection of the encoder's codes, whose alias's lock is held.

    ledgers: folder for the records of refused images.
    """

    store: Store
    held: Held
    alias: str
    collection: str
    encoder: Encoding
    ledgers: Path


def fill(
    target: Target,
    sources: Sequence[Source],
    listings: Sequence[Iterator[Entry]],
    options: Options,
    *,
    like: str | None = None,
    report: Report = lambda summary: None,
    refused: Callable[[list[Row]], None] = lambda rows: None,
) -> Summary:
    """Bring the collection in line with the sources' listings.

    like: another collection, whose labels and other fields given by the user the new points inherit · report, refused
    and what is raised: as for `ingest`.
    """
    store, collection, encoder = target.store, target.collection, target.encoder
    started = time.monotonic()
    summary = Summary(target.alias, collection)
    ledger = Ledger(target.ledgers, store.location, target.alias)
    meta = remember(store, collection, sources, options.public_url)
    options = replace(options, public_url=meta.public_url)
    planner = Planner(store, collection, options, ledger, summary, like)

    def tell() -> None:
        summary.seconds = time.monotonic() - started
        report(summary)

    with contextlib.ExitStack() as stack:
        stack.callback(lambda: ledger.close({source.name for source in sources if summary.listed}))
        coder = Coder(store, collection, encoder, planner, options)
        portable = all(source.portable for source in sources)
        made = batches(planner, coder, encoder, listings, options, portable)
        stack.enter_context(contextlib.closing(made))
        for batch in made:
            with finishing():
                write(target, batch, summary, ledger, refused)
            check_failures(summary, options)
            tell()
        if options.prune:
            target.held.check()
            prune(store, collection, sources, planner, options, summary)
        tell()
    return summary


def remember(store: Store, collection: str, sources: Sequence[Source], public_url: str | None = None) -> CollectionMeta:
    """Note in the metadata where each source lies now, so that its pictures can be found again, and where they show.

    Returns the metadata. A single file of a folder that is known already does not take the folder's place.
    """
    meta = store.metadata(collection)
    new = {source.name: source.spec for source in sources if source.whole or source.name not in meta.sources}
    labelled = {*meta.labelled, *(source.name for source in sources if source.labels)}
    known = replace(
        meta,
        sources={**meta.sources, **new},
        labelled=tuple(sorted(labelled)),
        public_url=public_url or meta.public_url,
    )
    if known != meta:
        store.set_metadata(collection, known)
    return known


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


def write(target: Target, batch: Batch, summary: Summary, ledger: Ledger, refused: Callable[[list[Row]], None]) -> None:
    """Store one batch, then count it: what the summary says is done is done."""
    target.held.check()
    target.store.upsert(target.collection, batch.points)
    target.store.set_payload(target.collection, batch.payloads)
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
            f" {first.entry.source}/{first.entry.key}: {first.reason}; is the disk all right? What is stored stays"
        )
