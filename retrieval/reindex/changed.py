"""Is a re-index by the same model due? Only when the images differ from those that the live collection holds."""

import contextlib
from collections.abc import Generator, Sequence

from retrieval.config import Settings
from retrieval.ingest.job import peek
from retrieval.ingest.ledger import Ledger
from retrieval.ingest.options import IngestOptions
from retrieval.ingest.plan import Planner
from retrieval.ingest.prune import find_removals
from retrieval.ingest.summary import Summary
from retrieval.reading import Refused, read_pictures
from retrieval.records import CollectionMeta, point_id
from retrieval.sources import Entry, Source
from retrieval.store.base import Store


def has_changed(store: Store, alias: str, live: str, sources: Sequence[Source], settings: Settings) -> bool:
    """Whether an ingest into the live collection would store or remove an image. Nothing is written.

    What an ingest would open is opened, up to the first difference: an image that cannot be used is none, since the
    collection would be the same without it, and neither is one that only looks newer.
    """
    options, summary = IngestOptions(dry_run=True, prune=True), Summary(alias, live, dry_run=True)
    planner = Planner(store, live, options, Ledger(settings.refused, store.location, alias), summary)
    with contextlib.closing(find_differences(planner, store.metadata(live), sources)) as found:
        if any(found):
            return True
    return any(removal.points for removal in find_removals(store, live, sources, planner, options, summary))


def find_differences(planner: Planner, meta: CollectionMeta, sources: Sequence[Source]) -> Generator[bool]:
    """Of each image that has to be opened to know: whether its content is another than what is stored."""
    listings = [peek(source.entries()) for source in sources]
    portable = all(source.portable for source in sources)
    with contextlib.closing(planner.pages(listings)) as pages:
        opened = (item for page in pages for item in page if isinstance(item, Entry))
        for item in read_pictures(opened, meta.image_size, meta.channels, portable=portable):
            stored = planner.before.pop(point_id(item.entry.source, item.entry.key), {})
            yield not isinstance(item, Refused) and item.sha256 != stored.get("sha256")
