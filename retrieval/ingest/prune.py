"""Remove points whose images are gone or cannot be decoded any more, as their source says for each of them.

They are removed only when they are few. An image that a listing did not name is asked for, not removed at once
(docs/decisions/0019).
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from retrieval.errors import SourceError, UsageError
from retrieval.ingest.payload import match_source
from retrieval.ingest.plan import Planner
from retrieval.ingest.stale_points import find_stale, release_removed
from retrieval.ingest.summary import IngestSummary
from retrieval.schema.records import full_name
from retrieval.sources import Entry, Source
from retrieval.sources.base import folder_label
from retrieval.sources.presence import check_presence
from retrieval.store.base import Held

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


def prune(planner: Planner, held: Held) -> None:
    """Remove the points of the sources' images that are gone or stale.

    Points whose source cannot be asked stay, and are counted. Raises UsageError as `find_removals`, and Locked with
    the rest undone.
    """
    run = planner.run
    for removal in find_removals(planner):
        source = removal.source
        for points, asks in ((removal.gone, True), (removal.stale, False)):
            for start in range(0, len(points), DELETE):
                some = points[start : start + DELETE]
                if asks:
                    some = confirm_gone(source, some, run.summary)  # minutes may have passed since
                held.check()
                run.store.delete(run.collection, [point.id for point in some])
                count_removed(source, some, run.summary)


def find_removals(planner: Planner) -> list[Removal]:
    """Of each source the points whose images it says are not there, and the stale ones.

    Raises UsageError when that is more than `max_delete` of any source's points, and neither `yes` nor `dry_run`.
    """
    run, options = planner.run, planner.run.options
    found = []
    for source in run.sources:
        pages = find_unlisted(planner, run.collection, source)
        gone = [point for page in pages for point in confirm_gone(source, page, run.summary)]
        one = Removal(source, gone, [Unlisted(*point) for point in find_stale(source.name, run.summary)])
        number = len(one.points)
        held = run.store.count(run.collection, match_source(source.name)) if number else 0
        if number > options.max_delete * held and not options.yes and not options.dry_run:
            how = "gone from" if not one.stale else f"gone ({len(gone):,}) or no images any more in"
            raise UsageError(
                f"{number:,} of the {held:,} images of {source.name} are {how} {source.spec}, more than"
                f" {options.max_delete:.0%}; nothing was deleted",
                option="max_delete",
                hint="is the right folder there? If so, --yes",
            )
        found.append(one)
    return found


def find_overlooked(planner: Planner) -> list[Entry]:
    """Images that the run's `like` holds and that no listing named, but that are there; to be read by their keys.

    Raises SourceError for images that cannot be asked for: a collection without them must not take its place.
    """
    like = planner.run.others.like
    if like is None:
        return []
    found = []
    for source in planner.run.sources:
        for page in find_unlisted(planner, like, source):
            answer = check_presence(source, [point.key for point in page])
            for key, why in answer.unsure.items():
                raise SourceError(
                    f"{len(answer.unsure):,} images of {source.name} in {like}, {key} first, were not listed and"
                    f" cannot be asked for: {why}; {like} is live as before"
                )
            for _, key in (point for point in page if point.key not in answer.gone):
                label = folder_label(key) if source.labels else None
                found.append(Entry(source.name, key, 0, 0, label, partial(source.read, key)))
    return found


def find_unlisted(planner: Planner, collection: str, source: Source) -> Iterator[list[Unlisted]]:
    """The source's points that its listing did not name, some at a time."""
    for page in planner.run.store.scroll(collection, match_source(source.name)):
        keys = {point.id: str(point.payload["path"]) for point in page}
        if found := [Unlisted(id_, keys[id_]) for id_ in planner.find_unseen(source.name, list(keys))]:
            yield found


def confirm_gone(source: Source, points: Sequence[Unlisted], summary: IngestSummary) -> list[Unlisted]:
    """The points whose images the source says are gone; those that it cannot be asked for are counted."""
    answer = check_presence(source, [point.key for point in points])
    summary.unasked += len(answer.unsure)
    summary.unasked_why = summary.unasked_why or next(iter(answer.unsure.values()), "")
    return [point for point in points if point.key in answer.gone]


def count_removed(source: Source, points: Sequence[Unlisted], summary: IngestSummary) -> None:
    """Count what was removed, and keep the first names."""
    summary.deleted += len(points)
    release_removed([point.id for point in points], summary)
    summary.gone += [full_name(source.name, point.key) for point in points[: NAMED - len(summary.gone)]]


def check_prunable(sources: Sequence[Source]) -> None:
    """Raise UsageError for a source that shows only a part of its images."""
    for source in sources:
        if not source.whole:
            raise UsageError(
                f"{source.spec} shows only a part, and says nothing of the rest",
                option="prune",
                hint="give the whole folder",
            )
