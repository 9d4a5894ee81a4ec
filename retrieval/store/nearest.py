"""The k nearest with ties broken by id, so that both engines give the same hits in the same order.

An engine returns any of the points that tie for the last place. So it is asked for one more than k, and for
more still where the last place is tied, until the tie is seen whole.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from retrieval.records import Hit

T = TypeVar("T")
Ask = Callable[[Sequence[int], int], list[list[Hit]]]
"""Query numbers and a limit → the hits of each, nearest first."""

CHUNK = 64
"""Queries in one call of the engine."""
LARGEST_TIE = 1024
"""Where more points than this tie for the last place, any of them is as good."""


def nearest(ask: Ask, queries: int, k: int) -> list[list[Hit]]:
    """At most k hits for each query, by (distance, id)."""
    found: list[list[Hit]] = [[] for _ in range(queries)]
    waiting, limit = list(range(queries)), k + 1
    while waiting:
        tied = []
        for chunk in chunks(waiting, CHUNK):
            for query, hits in zip(chunk, ask(chunk, limit), strict=True):
                if last_place_is_tied(hits, k, limit) and limit < k + LARGEST_TIE:
                    tied.append(query)
                else:
                    found[query] = sorted(hits, key=lambda hit: (hit.distance, hit.id))[:k]
        waiting, limit = tied, k + min(LARGEST_TIE, 4 * (limit - k) + 4)
    return found


def last_place_is_tied(hits: Sequence[Hit], k: int, limit: int) -> bool:
    """Whether points beyond the returned ones may have the k-th distance too."""
    return len(hits) == limit and hits[-1].distance == hits[k - 1].distance


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut into pieces of at most `size`."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
