"""The k nearest points, ties broken by id, so that both engines return the same hits in the same order.

An engine returns arbitrary ones of the points that tie for the last place, does not group copies, and may let through
more than the filter does. So it is asked for k + 1 hits, and for more until k of them count and all their ties are
known.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from retrieval.schema.arrays import Float32
from retrieval.schema.filters import ID, Filter, Match, fields_of
from retrieval.schema.records import Hit, Point
from retrieval.store.filter_compiler import Native

T = TypeVar("T")
Ask = Callable[[Sequence[int], int], list[list[Hit]]]
"""Numbers of queries, and a limit → hits of each query, nearest first."""
Meets = Callable[[int, Hit], bool]
"""Whether the hit of that query meets its filter."""

CHUNK = 64
"""Queries in one call to the engine."""
MOST = 2**14
"""Maximum number of hits looked at beyond k: among even more copies or ties, any are as good."""


def find_topk(
    ask: Ask, queries: int, k: int, *, distinct: str | None = None, meets: Meets | None = None, chunk: int = CHUNK
) -> list[list[Hit]]:
    """At most k hits for each query, by (distance, id).

    ask: the engine's search
    queries: number of queries
    distinct: a payload field; returns all hits that have one of its k nearest different values
    meets: checks hits again, where the engine's filter lets through too much
    chunk: queries in one call of `ask`
    """
    found: list[list[Hit]] = [[] for _ in range(queries)]
    waiting, limit = list(range(queries)), k + (1 if meets is None else 2)  # often the query's own content is excluded
    while waiting:
        unsettled = []
        for part in split(waiting, chunk):
            for query, hits in zip(part, ask(part, limit), strict=True):
                good = [hit for hit in hits if meets is None or meets(query, hit)]
                exhausted = len(hits) < limit
                if exhausted or is_settled(good, hits[-1].distance, k, distinct) or (limit >= k + MOST and not meets):
                    found[query] = take_first(good, k, distinct)
                else:
                    unsettled.append(query)
        waiting, limit = unsettled, k + 4 * (limit - k) + 4
    return found


def is_settled(hits: Sequence[Hit], last: float, k: int, distinct: str | None) -> bool:
    """Whether k hits are nearer than the last place, where the engine may have more than it returned."""
    inside = [hit for hit in hits if hit.distance < last]
    return len({value_of(hit, distinct) for hit in inside} if distinct else inside) >= k


def take_first(hits: Sequence[Hit], k: int, distinct: str | None) -> list[Hit]:
    """The first k hits, or all hits that have one of the first k values."""
    ordered = sorted(hits, key=lambda hit: (hit.distance, hit.id))
    if distinct is None:
        return ordered[:k]
    values = set(list(dict.fromkeys(value_of(hit, distinct) for hit in ordered))[:k])
    return [hit for hit in ordered if value_of(hit, distinct) in values]


def value_of(hit: Hit, field: str) -> object:
    """The value of the hit's field; without one its id, so that it equals no other hit."""
    return hit.payload.get(field) or hit.id


def make_check(filters: Sequence[Filter | None]) -> Meets:
    """A function that checks hits against the filters."""

    def meets(query: int, hit: Hit) -> bool:
        where = filters[query]
        return where is None or where.holds(hit.id, hit.payload)

    return meets


def select_fields(filters: Sequence[Filter | None], distinct: str | None, meets: Meets | None, *, payload: bool) -> Any:
    """Payload fields that an engine must send: True for all, those that are checked here, or False for none."""
    if payload:
        return True
    fields = {distinct} if distinct else set()
    if meets is not None:
        fields = fields.union(*(fields_of(where) for where in filters if where is not None)) - {ID}
    return sorted(fields) or False


def drop_mismatches(points: Iterable[Point], where: Filter | None, native: Native) -> list[Point]:
    """The points that meet the filter, where the engine's filter `native` is not exact."""
    return [point for point in points if native.exact or where is None or where.holds(point.id, point.payload)]


def restrict_to(hits: Sequence[Hit]) -> Filter:
    """A filter for these points only: hits chosen among them meet the filter by which they were found."""
    return Filter(must=(Match(ID, tuple(hit.id for hit in hits)),))


def take_matching(
    ask: Callable[[int], list[Point]], like: Float32[np.ndarray, "q d"], k: int, where: Filter | None
) -> list[Hit]:
    """The first k points of the engine's choice that meet the filter; distances are to the nearest of `like`."""
    limit = k
    while True:
        points = ask(limit)
        good = [point for point in points if where is None or where.holds(point.id, point.payload)]
        if len(good) >= k or len(points) < limit:
            break
        limit *= 4
    return [
        Hit(point.id, float(np.linalg.norm(like - point.code, axis=1).min()), point.payload)
        for point in good[:k]
        if point.code is not None
    ]


def sort_counts(counts: Mapping[str, int]) -> dict[str, int]:
    """Largest count first, equal counts by value."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def split(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut into pieces of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
