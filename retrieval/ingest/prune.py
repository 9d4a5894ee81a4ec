"""Points whose images are gone, as their source says when it is asked for each of them, or are images no more.

They are removed only when they are few. That a listing did not name an image is a reason to ask, no more
(docs/decisions/0019).
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from retrieval.errors import SourceError, UsageError
from retrieval.filters import Filter, Match
from retrieval.ingest.options import Options
from retrieval.ingest.plan import Planner
from retrieval.ingest.stale import removed, stale
from retrieval.ingest.summary import Summary
from retrieval.sources import Entry, Source
from retrieval.sources.asking import ask
from retrieval.sources.base import folder_label
from retrieval.store.base import Held, Store

NAMED = 20
"""Deleted images that are shown by name."""
DELETE = 1000
"""Points removed by one request, once the source was asked for each of them and the lock was looked at."""


class Unlisted(NamedTuple):
    """A point whose image no listing named."""

    id: str
    key: str


class Removal(NamedTuple):
    """What goes of a source: points whose images are not there, and those whose images this run could not decode."""

    source: Source
    gone: list[Unlisted]
    stale: list[Unlisted]

    @property
    def points(self) -> list[Unlisted]:
        return self.gone + self.stale


def prune(
    store: Store,
    held: Held,
    collection: str,
    sources: Sequence[Source],
    planner: Planner,
    options: Options,
    summary: Summary,
) -> None:
    """Remove the points of the sources' images that are gone or stale.

    Those that cannot be asked for stay, and are counted. Raises UsageError as `removals`, Locked with the rest undone.
    """
    for removal in removals(store, collection, sources, planner, options, summary):
        source = removal.source
        for points, asks in ((removal.gone, True), (removal.stale, False)):
            for start in range(0, len(points), DELETE):
                some = points[start : start + DELETE]
                if asks:
                    some = asked(source, some, summary)  # minutes may have passed since
                held.check()
                store.delete(collection, [point.id for point in some])
                note(source, some, summary)


def removals(
    store: Store, collection: str, sources: Sequence[Source], planner: Planner, options: Options, summary: Summary
) -> list[Removal]:
    """Of each source the points whose images it says are not there, and the stale ones.

    Raises UsageError when that is more than `max_delete` of any source's points, and neither `yes` nor `dry_run`.
    """
    found = []
    for source in sources:
        gone = [p for page in unlisted(store, collection, source, planner) for p in asked(source, page, summary)]
        one = Removal(source, gone, [Unlisted(*point) for point in stale(source.name, summary)])
        number, held = len(one.points), store.count(collection, points_of(source)) if one.points else 0
        if number > options.max_delete * held and not options.yes and not options.dry_run:
            how = "gone from" if not one.stale else f"gone ({len(gone):,}) or no images any more in"
            raise UsageError(
                f"{number:,} of the {held:,} images of {source.name} are {how} {source.spec}, more than"
                f" --max-delete {options.max_delete:.0%}; nothing was deleted; is the right folder there? If so, --yes"
            )
        found.append(one)
    return found


def overlooked(store: Store, like: str, sources: Sequence[Source], planner: Planner) -> list[Entry]:
    """Images of the collection `like` that no listing named and that are there all the same, to be read by their keys.

    Raises SourceError for images that cannot be asked for: a collection without them must not take its place.
    """
    found = []
    for source in sources:
        for page in unlisted(store, like, source, planner):
            answer = ask(source, [point.key for point in page])
            for key, why in answer.unsure.items():
                raise SourceError(
                    f"{len(answer.unsure):,} images of {source.name} in {like}, {key} first, were not listed and"
                    f" cannot be asked for: {why}; {like} is live as before"
                )
            for _, key in (point for point in page if point.key not in answer.gone):
                label = folder_label(key) if source.labels else None
                found.append(Entry(source.name, key, 0, 0, label, partial(source.read, key)))
    return found


def unlisted(store: Store, collection: str, source: Source, planner: Planner) -> Iterator[list[Unlisted]]:
    """The source's points that its listing did not name, some at a time."""
    for page in store.scroll(collection, points_of(source)):
        keys = {point.id: str(point.payload["path"]) for point in page}
        if found := [Unlisted(id_, keys[id_]) for id_ in planner.unseen(source.name, list(keys))]:
            yield found


def asked(source: Source, points: Sequence[Unlisted], summary: Summary) -> list[Unlisted]:
    """Those that the source says are gone; those that it cannot be asked for are counted."""
    answer = ask(source, [point.key for point in points])
    summary.unasked += len(answer.unsure)
    summary.unasked_why = summary.unasked_why or next(iter(answer.unsure.values()), "")
    return [point for point in points if point.key in answer.gone]


def note(source: Source, points: Sequence[Unlisted], summary: Summary) -> None:
    """Count what was removed, and keep the first names."""
    summary.deleted += len(points)
    removed([point.id for point in points], summary)
    summary.gone += [f"{source.name}/{point.key}" for point in points[: NAMED - len(summary.gone)]]


def points_of(source: Source) -> Filter:
    """True for the source's points."""
    return Filter(must=(Match("source", (source.name,)),))


def check_prunable(sources: Sequence[Source]) -> None:
    """Raise UsageError for a source that is only a part of what bears its name."""
    for source in sources:
        if not source.whole:
            raise UsageError(
                f"--prune with {source.spec}: it shows only a part, and says nothing of the rest; give the whole folder"
            )
