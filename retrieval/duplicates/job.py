"""The `duplicates` job: one pass through the engine and the pictures, then groups, with little in memory."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from retrieval.duplicates.candidates import CandidateTable
from retrieval.duplicates.compare import DIFFERENT, measure_difference
from retrieval.duplicates.groups import Group, GroupMember, choose_best, group_connected
from retrieval.errors import SourceError
from retrieval.schema.records import CollectionMeta
from retrieval.sources import Source
from retrieval.store.base import Store
from retrieval.util.reporting import ReportStep, ignore

TOGETHER = 2048
"""Pairs compared at once."""


@dataclass(slots=True)
class DuplicateSummary:
    """What a run saw.

    points: looked at · unread: pictures out of reach, or changed since, of which only exact copies are found ·
    groups, duplicates: found, and how many pictures there are beyond one of each group.
    """

    points: int = 0
    unread: int = 0
    groups: int = 0
    duplicates: int = 0


def find_duplicates(
    store: Store,
    collection: str,
    meta: CollectionMeta,
    sources: Mapping[str, Source],
    summary: DuplicateSummary,
    max_distance: float | None = None,
    step: ReportStep = ignore,
) -> Iterator[Group]:
    """Groups of near-duplicates, of each of which one picture is enough.

    Candidates are each point's nearest by the engine. With `max_distance` all that are as near count; without it those
    whose pictures, read from the sources, show the same but for compression, size, a pixel's shift and light. Exact
    copies always count. Raises SourceError when no picture can be read and none is to be judged by distance.
    """
    look = max_distance is None
    with contextlib.closing(CandidateTable(meta, sources, look=look)) as census:
        limit = np.inf if max_distance is None else max_distance
        census.take(store, collection, limit, lambda done, total: step("Looking", done, total))
        summary.points, summary.unread = len(census), census.unread
        if look and census.unread and census.unread == len(census):
            raise SourceError(
                f"none of the {len(census):,} pictures of {collection} can be read from its sources, to confirm"
                " what the engine finds",
                hint="bring them back, or set the largest distance to judge by distance alone",
            )
        pairs, _ = census.candidates()
        alike = confirm_pairs(census, pairs, step) if look else np.ones(len(pairs), bool)
        for rows in group_connected(len(census), np.concatenate([census.same(), pairs[alike]])):
            group = make_group(store, collection, [census.id(row) for row in rows])
            if group is not None:
                summary.groups += 1
                summary.duplicates += len(group.others)
                yield group


def confirm_pairs(census: CandidateTable, pairs: Int[np.ndarray, "m 2"], step: ReportStep) -> Bool[np.ndarray, " m"]:
    """Which pairs show the same."""
    alike = np.zeros(len(pairs), bool)
    known = np.flatnonzero(census.readable(pairs[:, 0]) & census.readable(pairs[:, 1])) if len(pairs) else alike
    for start in range(0, len(known), TOGETHER):
        part = known[start : start + TOGETHER]
        first, second = (census.pictures(pairs[part, side]) for side in (0, 1))
        alike[part] = measure_difference(first, second) <= DIFFERENT
        step("Comparing", start + len(part), len(known))
    return alike


def make_group(store: Store, collection: str, ids: list[str]) -> Group | None:
    """A group with its payloads; None when it has fallen apart meanwhile."""
    points = list(store.retrieve(collection, ids, codes=True).values())
    if len(points) < 2:
        return None
    place, reason = choose_best([point.payload for point in points])
    kept = points[place]

    def member(number: int) -> GroupMember:
        point = points[number]
        assert point.code is not None
        assert kept.code is not None
        distance = float(np.linalg.norm(point.code - kept.code))
        return GroupMember(point.id, point.payload, distance, point.payload["sha256"] == kept.payload["sha256"])

    others = [member(number) for number in range(len(points)) if number != place]
    others.sort(key=lambda other: (other.distance, other.name))
    return Group(member(place), reason, tuple(others))
