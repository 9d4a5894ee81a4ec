"""Points whose images are gone: found after a whole listing, and removed only when they are few."""

from collections.abc import Iterator, Sequence

from retrieval.errors import UsageError
from retrieval.filters import Filter, Match
from retrieval.ingest.options import Options
from retrieval.ingest.plan import Planner
from retrieval.ingest.stale import removed, stale
from retrieval.ingest.summary import Summary
from retrieval.sources import Source
from retrieval.store.base import Store

NAMED = 20
"""Deleted images that are shown by name."""
DELETE = 1000
"""Points removed by one request."""


def prune(
    store: Store, collection: str, sources: Sequence[Source], planner: Planner, options: Options, summary: Summary
) -> None:
    """Remove the points of the sources' images that no listing named.

    Raises UsageError, and removes nothing, when that is more than `max_delete` of any source's points, and not `yes`.
    """
    gone: list[str] = []
    for source in sources:
        where = Filter(must=(Match("source", (source.name,)),))
        ids = [*missing(store, collection, where, planner, source.name, summary), *stale(source.name, summary)]
        held = store.count(collection, where) if ids else 0
        if len(ids) > options.max_delete * held and not options.yes and not options.dry_run:
            raise UsageError(
                f"{len(ids):,} of the {held:,} images of {source.name} are gone from {source.spec}, more than"
                f" --max-delete {options.max_delete:.0%}; nothing was deleted; is the right folder there? If so, --yes"
            )
        gone += ids
    summary.deleted += len(gone)
    removed(gone, summary)
    for start in range(0, len(gone) if not options.dry_run else 0, DELETE):
        store.delete(collection, gone[start : start + DELETE])


def missing(
    store: Store, collection: str, where: Filter, planner: Planner, source: str, summary: Summary
) -> Iterator[str]:
    """Ids of the source's points that its listing did not name."""
    for page in store.scroll(collection, where):
        keys = {point.id: point.payload["path"] for point in page}
        for id_ in planner.unseen(source, list(keys)):
            if len(summary.gone) < NAMED:
                summary.gone.append(f"{source}/{keys[id_]}")
            yield id_


def check_prunable(sources: Sequence[Source]) -> None:
    """Raise UsageError for a source that is only a part of what bears its name."""
    for source in sources:
        if not source.whole:
            raise UsageError(
                f"--prune with {source.spec}: it shows only a part, and says nothing of the rest; give the whole folder"
            )
