"""The `duplicates` job: find candidates by their embeddings, compare their pixels, and group the duplicates."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from retrieval.duplicates.candidates import CandidateTable
from retrieval.duplicates.compare import DIFFERENT, measure_difference
from retrieval.duplicates.groups import Group, GroupMember, choose_best, group_connected
from retrieval.errors import SourceError
from retrieval.schema.arrays import Bool, Int
from retrieval.sources import Source
from retrieval.store.base import Store
from retrieval.util.reporting import ReportNote, ReportStep, ignore
from retrieval.util.wording import count_of

TOGETHER = 2048
"""Pairs compared at once."""


@dataclass(slots=True)
class DuplicateSummary:
    """The counts of a run.

    points: number of points in the collection
    unread: images that cannot be read or have changed since; only their exact copies are found
    groups: number of groups
    duplicates: number of images that can be removed, all but one of each group
    """

    points: int = 0
    unread: int = 0
    groups: int = 0
    duplicates: int = 0


def find_duplicates(
    store: Store,
    collection: str,
    sources: Mapping[str, Source],
    summary: DuplicateSummary,
    *,
    max_distance: float | None = None,
    step: ReportStep = ignore,
    note: ReportNote = ignore,
) -> Iterator[Group]:
    """Find groups of near-duplicates.

    The candidates are each point's nearest neighbours. Without `max_distance`, their images are read from the sources
    and compared; duplicates agree except for compression, size, a shift by a pixel, brightness and contrast. Exact
    copies are always duplicates.

    store: the engine
    collection: to search
    sources: by name, those that can be opened
    summary: updated during the run
    max_distance: images up to this distance apart are duplicates, without a comparison of pixels
    step: called after each page and each batch of comparisons
    note: called if the candidates come from the engine's index, with its recall

    Raises SourceError when images are to be compared and none can be read.
    """
    by_pixels = max_distance is None
    with contextlib.closing(CandidateTable(store.metadata(collection), sources, by_pixels=by_pixels)) as table:
        limit = np.inf if max_distance is None else max_distance
        table.fill(store, collection, step)
        summary.points, summary.unread = len(table), table.unread
        if by_pixels and table.unread and table.unread == len(table):
            raise SourceError(
                f"none of {count_of(len(table), 'image')} of {collection} can be read from its sources to compare their"
                " pixels",
                hint="mount the sources, or set a maximum distance, to go by distance alone",
            )
        pairs, _ = table.pair_candidates(store, collection, limit, step, note)
        confirmed = confirm_pairs(table, pairs, step) if by_pixels else np.ones(len(pairs), bool)
        for rows in group_connected(len(table), np.concatenate([table.pair_exact_copies(), pairs[confirmed]])):
            group = make_group(store, collection, [table.id_of(row) for row in rows])
            if group is not None:
                summary.groups += 1
                summary.duplicates += len(group.others)
                yield group


def confirm_pairs(table: CandidateTable, pairs: Int[np.ndarray, "m 2"], step: ReportStep) -> Bool[np.ndarray, " m"]:
    """Which of the pairs are duplicates by their pixels."""
    alike = np.zeros(len(pairs), bool)
    known = np.flatnonzero(table.is_readable(pairs[:, 0]) & table.is_readable(pairs[:, 1])) if len(pairs) else alike
    for start in range(0, len(known), TOGETHER):
        part = known[start : start + TOGETHER]
        first, second = (table.read_thumbnails(pairs[part, side]) for side in (0, 1))
        alike[part] = measure_difference(first, second) <= DIFFERENT
        step("Comparing", start + len(part), len(known))
    return alike


def make_group(store: Store, collection: str, ids: list[str]) -> Group | None:
    """The group of these points; None if fewer than two of them still exist."""
    points = list(store.retrieve(collection, ids, codes=True).values())
    if len(points) < 2:
        return None
    place, reason = choose_best([point.payload for point in points])
    kept = points[place]

    def make_member(number: int) -> GroupMember:
        point = points[number]
        assert point.code is not None
        assert kept.code is not None
        distance = float(np.linalg.norm(point.code - kept.code))
        return GroupMember(point.id, point.payload, distance, point.payload["sha256"] == kept.payload["sha256"])

    others = [make_member(number) for number in range(len(points)) if number != place]
    others.sort(key=lambda other: (other.distance, other.name))
    return Group(make_member(place), reason, tuple(others))
