"""The pipeline in this process: list and compare → read, hash, decode → encode → write.

Four stages that work at the same time, each as far ahead of the next as a bounded queue lets it.
"""

import contextlib
import itertools
from collections.abc import Generator, Iterable, Iterator, Sequence

from retrieval.ingest.batches import Batch, Coder, Item, choose_batch_size, write_batch
from retrieval.ingest.context import IngestRun, Target
from retrieval.ingest.plan import Copied, Page, Planner, ToOpen, Touched
from retrieval.model.encoder_process import Encoding, warm_up
from retrieval.sources import Entry
from retrieval.sources.read import Refused, read_pictures
from retrieval.store.base import Held
from retrieval.util.prefetch import prefetch
from retrieval.util.signals import hold_signals

PAGES_AHEAD = 2


def run_here(target: Target, planner: Planner, listings: Sequence[Iterator[Entry]]) -> Generator[None]:
    """Fill the target with what the listings name; yields after each batch that was written."""
    with contextlib.closing(make_batches(target, planner, listings)) as batches:
        for batch in batches:
            with hold_signals():
                write(planner.run, target.held, batch)
            yield


def write(run: IngestRun, held: Held, batch: Batch) -> None:
    """Store a batch and record what was refused. Raises Locked, with nothing done, when the lock is lost."""
    held.check()
    write_batch(run, batch)
    run.ledger.settle(batch.entries)
    if batch.refused:
        run.report_refused(run.ledger.add(batch.refused))


def make_batches(target: Target, planner: Planner, listings: Sequence[Iterator[Entry]]) -> Generator[Batch]:
    """What is to be written, one batch after the other."""
    options, encoder, config = planner.run.options, target.encoder, target.encoder.config
    portable = all(source.portable for source in planner.run.sources)
    with contextlib.closing(prefetch(planner.plan(listings), PAGES_AHEAD)) as pages:
        todo: Iterator[ToOpen | Touched | Copied | Refused]
        todo = itertools.chain.from_iterable(warm_up_at_first(pages, encoder))
        items: Iterator[Item] = read_pictures(
            todo, config.image_size, config.channels, workers=options.workers, portable=portable
        )
        made = Coder(planner.run, encoder).make_batches(items, choose_batch_size(config, options))
        with contextlib.closing(prefetch(made, 1)) as batches:
            yield from batches


def warm_up_at_first(pages: Iterable[Page], encoder: Encoding) -> Iterator[Page]:
    """The same pages; the encoder starts when the first image that has to be opened comes by."""
    cold = True
    for page in pages:
        if cold and any(isinstance(item, ToOpen) for item in page):
            cold = False
            warm_up(encoder)
        yield page
