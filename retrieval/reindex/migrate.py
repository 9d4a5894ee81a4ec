"""Copy a collection to another engine: the same points under the same name. The alias is set last, after checks."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from retrieval.errors import NoCollection, StoreError
from retrieval.schema.records import Point, codes_of
from retrieval.store.base import Store, resolve
from retrieval.util.reporting import ReportCount, ignore
from retrieval.util.wording import count_of

PAGE = 1000
"""Points read and written together; at most two pages are in memory."""
SAMPLE = 250
"""Points that are read back and compared at the end, spread evenly."""
QUERIES, K = 10, 10
"""Number of searches that both engines must answer alike, and hits of each."""


@dataclass(slots=True)
class MigrateSummary:
    """What a run did.

    origin, target: locations of the engines
    points: number in the collection
    copied: of these, written in this run
    deleted: points removed from the target
    """

    alias: str
    collection: str
    origin: str
    target: str
    points: int = 0
    copied: int = 0
    deleted: int = 0
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        content = asdict(self)
        return {
            "from": content.pop("origin"),
            "to": content.pop("target"),
            **content,
            "seconds": round(self.seconds, 2),
        }


def migrate(
    source: Store,
    target: Store,
    alias: str,
    report: ReportCount = ignore,
    *,
    yes: bool = False,
) -> MigrateSummary:
    """Copy the alias's collection from the source to the target, with its name and metadata.

    Points that the target has already are not written again, so an interrupted run can be resumed. The source is only
    read.

    source: the engine to copy from
    target: the engine to copy to
    alias: of the collection
    report: called with the number of points done, and their total
    yes: at the target, move an alias that points elsewhere, and overwrite a collection in use that differs

    Raises StoreError when `yes` would be needed or what was written does not read back, Locked when another job
    writes to the target's alias.
    """
    started = time.monotonic()
    collection = resolve(source, alias)
    summary = MigrateSummary(alias, collection, source.location, target.location)
    with target.lock(alias) as held, target.lock(collection):
        check_target_alias(target, alias, collection, yes=yes)
        in_use = collection in target.aliases().values()

        def may_change(what: str) -> None:
            if in_use and not yes:
                raise StoreError(
                    f"{collection} is in use at {target.location} and differs in {what} from that at {source.location}",
                    hint="--yes overwrites it, and what was written there since is lost",
                )
            held.check()

        prepare_target(source, target, collection, may_change)
        sample = copy_points(source, target, summary, may_change, report)
        if target.count(collection) > summary.points:
            summary.deleted = remove_others(source, target, collection, may_change)
        verify(source, target, summary, sample)
        held.check()
        target.move_alias(alias, collection)
    summary.seconds = time.monotonic() - started
    return summary


def check_target_alias(target: Store, alias: str, collection: str, *, yes: bool) -> None:
    """Raise StoreError when the target's alias points at another collection, or is the name of a collection."""
    try:
        found = resolve(target, alias)
    except NoCollection:
        return
    if found != collection and not yes:
        raise StoreError(
            f"alias {alias!r} at {target.location} points at {found} ({count_of(target.count(found), 'point')}),"
            f" not at {collection}",
            hint=f"--yes moves it, and keeps {found}",
        )


def prepare_target(source: Store, target: Store, collection: str, may_change: Callable[[str], None]) -> None:
    """Create the collection at the target, or update its metadata. Raises StoreError for one of another model."""
    meta = source.metadata(collection)
    if collection not in target.collections():
        target.create_collection(collection, meta)
    elif target.metadata(collection) != meta:
        may_change("its metadata")
        target.set_metadata(collection, meta)


def copy_points(
    source: Store,
    target: Store,
    summary: MigrateSummary,
    may_change: Callable[[str], None],
    report: ReportCount,
) -> list[Point]:
    """Write every point that is missing or different, a page at a time. Returns a sample of the points."""
    total = source.count(summary.collection)
    every, sample = max(1, total // SAMPLE), []
    for page in source.scroll(summary.collection, codes=True, page=PAGE):
        there = target.retrieve(summary.collection, [point.id for point in page], codes=True)
        missing = [point for point in page if not is_same_point(point, there.get(point.id))]
        if missing:
            may_change(f"{len(missing):,} of {count_of(len(page), 'point')}")
            target.upsert(summary.collection, missing)
        sample += page[-summary.points % every :: every]
        summary.points += len(page)
        summary.copied += len(missing)
        report(summary.points, total)
    return sample


def remove_others(source: Store, target: Store, collection: str, may_change: Callable[[str], None]) -> int:
    """Delete points that the source does not hold. Returns their number."""
    deleted = 0
    for page in target.scroll(collection, page=PAGE):
        known = source.retrieve(collection, [point.id for point in page])
        others = [point.id for point in page if point.id not in known]
        if others:
            may_change(f"{count_of(len(others), 'point')} that it lacks")
            target.delete(collection, others)
        deleted += len(others)
    return deleted


def verify(source: Store, target: Store, summary: MigrateSummary, sample: list[Point]) -> None:
    """Compare the exact counts, the points of the sample, and the results of a few searches.

    Searches may be approximate, so only the distances of the nearest hits and of common hits are compared.
    Raises StoreError for any difference.
    """
    collection, undone = summary.collection, f"alias {summary.alias!r} was not moved; run the same command again"
    here, there = source.count(collection), target.count(collection)
    if not here == there == summary.points:
        raise StoreError(
            f"{collection}: {count_of(summary.points, 'point')} copied, {source.location} now holds {here:,}"
            f" and {target.location} {there:,} (does another job write there?)",
            hint=undone,
        )
    stored = target.retrieve(collection, [point.id for point in sample], codes=True)
    wrong = [point.id for point in sample if not is_same_point(point, stored.get(point.id))]
    if wrong:
        raise StoreError(
            f"{collection}: read back from {target.location}, {len(wrong):,} of"
            f" {count_of(len(sample), 'point')} differ, {wrong[0]} first",
            hint=undone,
        )
    codes = codes_of(sample[:: max(1, len(sample) // QUERIES)])
    answers = [store.query(collection, codes, K) if sample else [] for store in (source, target)]
    for ours, theirs in zip(*answers, strict=True):
        mine, yours = ({hit.id: hit.distance for hit in hits} for hits in (ours, theirs))
        pairs = [(ours[0].distance, theirs[0].distance), *((mine[id_], yours[id_]) for id_ in mine.keys() & yours)]
        if not all(np.isclose(*pair, rtol=1e-4, atol=1e-6) for pair in pairs):
            raise StoreError(
                f"{collection}: {source.location} and {target.location} measure different distances",
                hint=undone,
            )


def is_same_point(point: Point, other: Point | None) -> bool:
    """Whether code and payload are equal, to the bit."""
    return (
        other is not None
        and point.payload == other.payload
        and np.array_equal(np.asarray(point.code), np.asarray(other.code))
    )
