"""List a collection's images in an order: at random, the newest first, by name or by label."""

import heapq
import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from retrieval.schema.filters import Filter
from retrieval.schema.records import Point
from retrieval.store.base import Store

Order = Literal["random", "date", "name", "label"]
ID_BYTES = 16
PAGE = 1000
LONGEST_INT = 300
"""Digits that are compared; Python reads at most 4,300."""
NUMBER = re.compile(r"(\d+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Listing:
    """The images of a collection that meet a filter, in an order.

    ids: of the points, 16 bytes each
    whole: False if there are more images than were read
    """

    collection: str
    order: Order
    ids: bytes
    whole: bool

    def __len__(self) -> int:
        return len(self.ids) // ID_BYTES

    def page(self, offset: int, n: int, seed: int = 0) -> list[str]:
        """Ids of at most n images from a place on. seed: of the order at random."""
        rows = np.arange(len(self))
        if self.order == "random":
            rows = np.random.default_rng(seed).permutation(len(self))
        chosen = rows[offset : offset + n]
        return [str(uuid.UUID(bytes=self.ids[ID_BYTES * row : ID_BYTES * (row + 1)])) for row in chosen.tolist()]


def list_images(
    store: Store, collection: str, order: Order, where: Filter | None, *, most: int, seconds: float
) -> Listing:
    """List the images that meet the filter, or those that are read within the limits: a random part, as ids are hashes.

    most: maximum number of images
    seconds: after which no further page is read
    """
    ends, key = time.monotonic() + seconds, KEYS[order]
    pages, total, whole = list[list[tuple[Any, bytes]]](), 0, True
    for page in store.scroll(collection, where, page=PAGE):
        found = page[: most - total]
        pages.append(sorted((key(point), uuid.UUID(point.id).bytes) for point in found))
        total += len(found)
        if len(found) < len(page) or time.monotonic() > ends:
            whole = False
            break
    return Listing(collection, order, b"".join(id_ for _, id_ in heapq.merge(*pages)), whole)


def natural(text: str) -> tuple[str | int, ...]:
    """A key that sorts numbers within texts by their value.

    >>> sorted(["b10", "b9", "a"], key=natural)
    ['a', 'b9', 'b10']
    """
    parts: list[str | int] = [*NUMBER.split(text.casefold())]
    parts[1::2] = [int(part[:LONGEST_INT]) for part in map(str, parts[1::2])]
    return tuple(parts)


def by_name(point: Point) -> tuple[Any, ...]:
    """Source, then path."""
    return natural(point.name)


def by_label(point: Point) -> tuple[Any, ...]:
    """Label, then name; images without a label come last."""
    label = point.payload.get("label")
    return (label is None, natural(str(label)), natural(point.name))


def by_date(point: Point) -> tuple[Any, ...]:
    """The file's date, the newest first; files without one come last."""
    return (-int(point.payload.get("mtime_ns") or 0), natural(point.name))


KEYS: dict[Order, Callable[[Point], Any]] = {
    "random": lambda _: 0,
    "date": by_date,
    "name": by_name,
    "label": by_label,
}
