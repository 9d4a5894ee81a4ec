"""The pipeline in this process: list and compare → read, hash, decode → encode → write.

Four stages that work at the same time, each as far ahead of the next as a bounded queue lets it.
"""

import contextlib
import itertools
from collections.abc import Generator, Iterable, Iterator, Sequence

from retrieval.ingest.ahead import prefetch
from retrieval.ingest.encoded import Batch, Coder, Item, choose_batch_size, write_batch
from retrieval.ingest.encoder import Encoding, warm_up
from retrieval.ingest.interrupt import hold_signals
from retrieval.ingest.plan import Moved, Page, Touched
from retrieval.ingest.run import IngestRun
from retrieval.reading import Refused, read_pictures
from retrieval.sources import Entry

PAGES_AHEAD = 2


def run_here(run: IngestRun, listings: Sequence[Iterator[Entry]]) -> Generator[None]:
    """Yields after each batch that was written."""
    with contextlib.closing(make_batches(run, listings)) as made:
        for batch in made:
            with hold_signals():
                write(run, batch)
            yield


def write(run: IngestRun, batch: Batch) -> None:
    """Store a batch, and write down what was refused; raises Locked, with nothing done, when the lock is lost."""
    target = run.target
    target.held.check()
    write_batch(target.store, target.collection, batch, run.summary)
    run.ledger.settle(batch.entries)
    if batch.refused:
        run.note_refused(run.ledger.add(batch.refused))


def make_batches(run: IngestRun, listings: Sequence[Iterator[Entry]]) -> Generator[Batch]:
    """What is to be written, one batch after the other."""
    target, options, config = run.target, run.options, run.target.encoder.config
    coder = Coder(target.store, target.collection, target.encoder, run.planner, options)
    portable = all(source.portable for source in run.sources)
    with contextlib.closing(prefetch(run.planner.pages(listings), PAGES_AHEAD)) as pages:
        todo: Iterator[Entry | Touched | Moved | Refused] = itertools.chain.from_iterable(
            warm_up_at_first(pages, target.encoder)
        )
        items: Iterator[Item] = read_pictures(
            todo, config.image_size, config.channels, workers=options.workers, portable=portable
        )
        with contextlib.closing(prefetch(coder.batches(items, choose_batch_size(config, options)), 1)) as made:
            yield from made


def warm_up_at_first(pages: Iterable[Page], encoder: Encoding) -> Iterator[Page]:
    """The same pages; the first image that is to be opened makes the encoder get ready."""
    cold = True
    for page in pages:
        if cold and any(isinstance(item, Entry) for item in page):
            cold = False
            warm_up(encoder)
        yield page
