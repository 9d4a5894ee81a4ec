"""Groups of duplicates: which images belong together, which one to keep, and why."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from retrieval.schema.arrays import Int
from retrieval.schema.records import Payload, payload_name

Key = Callable[[Payload], Any]

REASONS: tuple[tuple[str, Key], ...] = (
    ("most pixels", lambda p: -(p.get("width", 0) * p.get("height", 0))),
    ("most bytes", lambda p: -p.get("bytes", 0)),
    ("oldest", lambda p: p.get("mtime_ns") or float("inf")),
    ("shortest path", lambda p: len(p["path"])),
    ("first by name", lambda p: (p["source"], p["path"])),
)
"""Reasons to keep an image, the most important first; the first that distinguishes the images decides."""


@dataclass(frozen=True, slots=True)
class GroupMember:
    """An image of a group.

    distance: from the one to keep
    exact: whether it has the same content as the one to keep
    """

    id: str
    payload: Payload
    distance: float
    exact: bool

    @property
    def name(self) -> str:
        return payload_name(self.payload)

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "distance": self.distance, "exact": self.exact, **self.payload}


@dataclass(frozen=True, slots=True)
class Group:
    """Duplicates: the one to keep, the reason, and the others, nearest first."""

    keep: GroupMember
    reason: str
    others: tuple[GroupMember, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "keep": self.keep.to_json(),
            "reason": self.reason,
            "others": [member.to_json() for member in self.others],
        }


def group_connected(rows: int, pairs: Int[np.ndarray, "m 2"]) -> Iterator[list[int]]:
    """Groups of two or more rows that are connected by pairs, in the order of their first rows (union-find)."""
    parent = np.arange(rows)

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = int(parent[row])
        return row

    for a, b in pairs.tolist():
        first, second = sorted((root(a), root(b)))
        parent[second] = first
    groups: dict[int, list[int]] = {}
    for row in np.unique(pairs).tolist():
        groups.setdefault(root(row), []).append(row)
    yield from groups.values()


def choose_best(payloads: Sequence[Payload]) -> tuple[int, str]:
    """The position of the image to keep, and the reason.

    >>> a, b = ({"source": "s", "path": path, "width": side, "height": side} for path, side in (("a", 28), ("b", 56)))
    >>> best([a, b])
    (1, 'most pixels')
    """
    left = list(range(len(payloads)))
    for reason, key in REASONS:
        least = min(key(payloads[place]) for place in left)
        left = [place for place in left if key(payloads[place]) == least]
        if len(left) == 1:
            return left[0], reason
    return left[0], REASONS[-1][0]
