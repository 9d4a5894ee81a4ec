"""Before a write: check every code and payload, then cut the points into requests."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np

from retrieval.errors import BadCode, StoreError
from retrieval.schema.records import Payload, Point

T = TypeVar("T")

BATCH_POINTS = 512
"""Maximum number of points in one write; 512 to 1,024 with at most 4 MB were fastest on the server."""
BATCH_BYTES = 4 * 2**20
"""Maximum size of one write as JSON; a server accepts 32 MiB."""
MOST_PAYLOAD = 2**20
"""Maximum size of one payload as JSON, in bytes."""
LITTLE = 2048
"""Characters up to which a size is estimated. Fully escaped, BATCH_POINTS such payloads are half of the limit."""
PLAIN = (str, int, float, bool, type(None))


def size_of(payload: Payload) -> int:
    """Bytes of the payload as JSON; an estimate if small, because encoding each one takes as long as storing it."""
    if all(type(value) in PLAIN for value in payload.values()):
        about = sum(len(name) + (len(value) if type(value) is str else 12) + 6 for name, value in payload.items())
        if about <= LITTLE:
            return about
    return len(json.dumps(payload, default=str))


def too_large(payload: Payload) -> str | None:
    """Why a payload cannot be stored; None if it can."""
    if (size := size_of(payload)) <= MOST_PAYLOAD:
        return None
    return f"its payload takes {size:,} bytes, at most {MOST_PAYLOAD:,}; give fewer or shorter metadata columns"


def name_of(point: str, payload: Payload) -> str:
    """The image's name, for messages."""
    return f"{payload.get('source', '?')}/{payload.get('path', point)}"


def check_payloads(payloads: Mapping[str, Payload]) -> None:
    """Raise StoreError, naming the image, if a payload is too large."""
    for point, payload in payloads.items():
        if why := too_large(payload):
            raise StoreError(f"{name_of(point, payload)}: {why}; nothing of this batch was written")


def check_points(points: Iterable[Point], dim: int) -> None:
    """Raise BadCode for a code that is missing, misshapen or not finite, StoreError for too large a payload.

    Engines do not check this well: Qdrant's gRPC and Edge accept NaN, and the point then ranks first in every search;
    a REST batch with one bad vector stores the others.
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
                f"{name}: the code is not finite (NaN or infinite); nothing of this batch was written",
                hint="train again",
            )
        check_payloads({point.id: point.payload})


def batches(points: Sequence[Point], dim: int) -> Iterator[list[Point]]:
    """Cut into writes of at most BATCH_POINTS points and about BATCH_BYTES bytes of JSON."""
    return cut(points, lambda point: dim * 20 + size_of(point.payload))


def payload_batches(payloads: Mapping[str, Payload]) -> Iterator[list[tuple[str, Payload]]]:
    """As `batches`, for payloads by point id."""
    return cut(list(payloads.items()), lambda item: 100 + size_of(item[1]))


def cut(items: Sequence[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Groups of at most BATCH_POINTS items and BATCH_BYTES bytes; a larger item is a group by itself."""
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
