"""Decide whether a re-index by the same model is due: only if the images differ from those in the live collection."""

import contextlib
from collections.abc import Generator, Sequence

from retrieval.ingest.context import IngestRun
from retrieval.ingest.job import peek
from retrieval.ingest.ledger import Ledger
from retrieval.ingest.options import IngestOptions
from retrieval.ingest.plan import Planner, ToOpen
from retrieval.ingest.prune import find_removals
from retrieval.ingest.summary import IngestSummary
from retrieval.reindex.context import ReindexRun
from retrieval.sources import Source
from retrieval.sources.read import Refused, read_images


def has_changed(run: ReindexRun, sources: Sequence[Source]) -> bool:
    """Whether an ingest into the live collection would store or remove an image. Nothing is written.

    Opens the images that an ingest would open, up to the first difference. An image that cannot be used is no
    difference, because the new collection would not hold it either; a newer file with the same content is none.
    """
    store, alias, live = run.store, run.outcome.alias, run.outcome.live
    options, summary = IngestOptions(dry_run=True, prune=True), IngestSummary(alias, live, dry_run=True)
    ledger = Ledger(run.settings.refused, store.location, alias)
    planner = Planner(IngestRun(store, live, sources, options, ledger, summary))
    with contextlib.closing(find_differences(planner)) as found:
        if any(found):
            return True
    return any(removal.points for removal in find_removals(planner))


def find_differences(planner: Planner) -> Generator[bool]:
    """For each image that has to be opened: whether its content differs from what is stored."""
    sources, meta = planner.run.sources, planner.run.store.metadata(planner.run.collection)
    listings = [peek(source).entries for source in sources]
    portable = all(source.portable for source in sources)
    with contextlib.closing(planner.plan(listings)) as pages:
        opened = (item for page in pages for item in page if isinstance(item, ToOpen))
        for item in read_images(opened, meta.shape, portable=portable):
            assert isinstance(item.entry, ToOpen)
            yield not isinstance(item, Refused) and item.sha256 != item.entry.before.get("sha256")
