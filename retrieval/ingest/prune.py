"""Remove points whose images are gone or can no longer be decoded.

An image that was not listed is looked up at its source before its point is removed (docs/decisions/0019). If there are
too many, nothing is removed.
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
from retrieval.util.wording import count_of

NAMED = 20
"""Deleted images that are listed by name."""
DELETE = 1000
"""Points removed by one request; before each, their images are looked up at the source and the lock is checked."""


class Unlisted(NamedTuple):
    """A point whose image was not listed."""

    id: str
    key: str


class Removal(NamedTuple):
    """Points of a source to remove: those whose images are gone, and those whose images could not be decoded."""

    source: Source
    gone: list[Unlisted]
    stale: list[Unlisted]

    @property
    def points(self) -> list[Unlisted]:
        return self.gone + self.stale


def prune(planner: Planner, held: Held) -> None:
    """Remove the points of the sources' images that are gone or stale.

    Points whose source does not answer are kept, and counted. Raises UsageError as `find_removals`, and Locked before
    the next request when the lock is lost.
    """
    run = planner.run
    for removal in find_removals(planner):
        source = removal.source
        for points, asks in ((removal.gone, True), (removal.stale, False)):
            for start in range(0, len(points), DELETE):
                some = points[start : start + DELETE]
                if asks:
                    some = confirm_gone(source, some, run.summary)  # minutes may have passed since the first lookup
                held.check()
                run.store.delete(run.collection, [point.id for point in some])
                count_removed(source, some, run.summary)


def find_removals(planner: Planner) -> list[Removal]:
    """For each source, the points to remove.

    Raises UsageError when they are more than `max_delete` of the source's points, unless `yes` or `dry_run` is set.
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
            how = "gone from" if not one.stale else f"gone ({len(gone):,}) or no longer images in"
            raise UsageError(
                f"{number:,} of {count_of(held, 'image')} of {source.name} {how} {source.spec}, more than"
                f" {options.max_delete:.0%}; nothing was deleted",
                option="max_delete",
                hint="check that the right folder is mounted; if it is, --yes",
            )
        found.append(one)
    return found


def find_overlooked(planner: Planner) -> list[Entry]:
    """Images of the run's `like` collection that were not listed although they exist.

    Raises SourceError for images whose existence cannot be determined, because the new collection must not replace
    `like` without them.
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
                    f"{count_of(len(answer.unsure), 'image')} of {source.name} in {like}, {key} first, not listed, and"
                    f" not to be checked: {why}; {like} is still live"
                )
            for _, key in (point for point in page if point.key not in answer.gone):
                label = folder_label(key) if source.labels else None
                found.append(Entry(source.name, key, 0, 0, label, partial(source.read, key)))
    return found


def find_unlisted(planner: Planner, collection: str, source: Source) -> Iterator[list[Unlisted]]:
    """The source's points whose images were not listed, a page at a time."""
    for page in planner.run.store.scroll(collection, match_source(source.name)):
        keys = {point.id: str(point.payload["path"]) for point in page}
        if found := [Unlisted(id_, keys[id_]) for id_ in planner.find_unseen(source.name, list(keys))]:
            yield found


def confirm_gone(source: Source, points: Sequence[Unlisted], summary: IngestSummary) -> list[Unlisted]:
    """The points whose images are gone according to the source; those that it does not answer for are counted."""
    answer = check_presence(source, [point.key for point in points])
    summary.unasked += len(answer.unsure)
    summary.unasked_why = summary.unasked_why or next(iter(answer.unsure.values()), "")
    return [point for point in points if point.key in answer.gone]


def count_removed(source: Source, points: Sequence[Unlisted], summary: IngestSummary) -> None:
    """Count the removed points, and keep the first names."""
    summary.deleted += len(points)
    release_removed([point.id for point in points], summary)
    summary.gone += [full_name(source.name, point.key) for point in points[: NAMED - len(summary.gone)]]


def check_prunable(sources: Sequence[Source]) -> None:
    """Raise UsageError for a source that lists only a part of its images."""
    for source in sources:
        if not source.whole:
            raise UsageError(
                f"{source.spec} lists only a part of its source's images",
                option="prune",
                hint="give the whole folder",
            )
