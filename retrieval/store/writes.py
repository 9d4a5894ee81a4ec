"""What stands before a write: every code and payload is checked, then the points are cut into requests."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np

from retrieval.errors import BadCode, StoreError
from retrieval.records import Payload, Point

T = TypeVar("T")

BATCH_POINTS = 512
"""Points in one write: 512-1,024 of at most 4 MB were fastest on the server."""
BATCH_BYTES = 4 * 2**20
"""JSON text of one write; a server takes 32 MiB."""
MOST_PAYLOAD = 2**20
"""JSON text of one payload."""
LITTLE = 2048
"""Characters; with every one of them escaped, BATCH_POINTS of these are still half of what a server takes."""
PLAIN = (str, int, float, bool, type(None))


def size_of(payload: Payload) -> int:
    """Bytes of its JSON text; about, where that is little: text of every small one would take as long as storing it."""
    if all(type(value) in PLAIN for value in payload.values()):
        about = sum(len(name) + (len(value) if type(value) is str else 12) + 6 for name, value in payload.items())
        if about <= LITTLE:
            return about
    return len(json.dumps(payload, default=str))


def too_large(payload: Payload) -> str | None:
    """Why a payload cannot be stored; None for one that can."""
    if (size := size_of(payload)) <= MOST_PAYLOAD:
        return None
    return f"its payload takes {size:,} bytes, at most {MOST_PAYLOAD:,}; give fewer or shorter metadata columns"


def name_of(point: str, payload: Payload) -> str:
    """For messages."""
    return f"{payload.get('source', '?')}/{payload.get('path', point)}"


def check_payloads(payloads: Mapping[str, Payload]) -> None:
    """Raise StoreError, naming the image, for one that is too large."""
    for point, payload in payloads.items():
        if why := too_large(payload):
            raise StoreError(f"{name_of(point, payload)}: {why}; nothing of this batch was written")


def check_points(points: Iterable[Point], dim: int) -> Iterator[Point]:
    """The same points; raises BadCode for one whose code is missing, of another shape or type, or not finite.

    And StoreError for one whose payload is too large.

    Qdrant's gRPC and Edge accept NaN, and the point then ranks first in every search; a REST batch with one bad
    vector stores the others.
    """
    for point in points:
        name = name_of(point.id, point.payload)
        code = point.code
        if code is None or code.shape != (dim,) or code.dtype != np.float32:
            found = "no code" if code is None else f"{code.dtype}{list(code.shape)}"
            raise BadCode(
                f"{name}: {found}, but the collection takes float32[{dim}]; nothing of this batch was written"
            )
        if not np.isfinite(code).all():
            raise BadCode(
                f"{name}: the code is not finite (NaN or infinite); nothing of this batch was written; train again"
            )
        check_payloads({point.id: point.payload})
        yield point


def batches(points: Sequence[Point], dim: int) -> Iterator[list[Point]]:
    """Cut into writes of at most BATCH_POINTS points and about BATCH_BYTES bytes of JSON text."""
    return cut(points, lambda point: dim * 20 + size_of(point.payload))


def payload_batches(payloads: Mapping[str, Payload]) -> Iterator[list[tuple[str, Payload]]]:
    """The same for payloads by point id."""
    return cut(list(payloads.items()), lambda item: 100 + size_of(item[1]))


def cut(items: Sequence[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Runs of at most BATCH_POINTS items and BATCH_BYTES bytes, or of one that is larger by itself."""
    batch: list[T] = []
    taken = 0
    for item in items:
        more = size(item)
        if batch and (len(batch) == BATCH_POINTS or taken + more > BATCH_BYTES):
            yield batch
            batch, taken = [], 0
        batch.append(item)
        taken += more
    if batch:
        yield batch
