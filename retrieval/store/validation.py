"""Checks before a request to either engine: names, codes, payloads, and metadata that would change the code space."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

import numpy as np

from retrieval.errors import BadCode, NoCollection, StoreError, UsageError
from retrieval.schema.records import CollectionMeta, Payload, Point, full_name

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")

T = TypeVar("T")

BATCH_POINTS = 512
"""Maximum number of points in one write; 512 to 1,024 with at most 4 MB were fastest on the server."""
BATCH_BYTES = 4 * 2**20
"""Maximum size of one write as JSON; a server accepts 32 MiB."""
MOST_PAYLOAD = 2**20
"""Maximum size of one payload as JSON, in bytes."""
LITTLE = 2048
"""Characters up to which a size is estimated. Fully escaped, BATCH_POINTS such payloads are half of the limit."""
PLAIN = {int, float, bool, type(None)}


def check_name(name: str) -> None:
    """Raise UsageError for a name that is not safe as a folder's name and in a URL."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a collection or an alias",
            hint="use 1 to 200 letters, digits and . _ -, starting with a letter or digit",
        )


class NameLookup(Protocol):
    """The part of `Store` that looks up names."""

    location: str

    def collections(self) -> list[str]: ...

    def aliases(self) -> dict[str, str]: ...


def check_new(store: NameLookup, collection: str) -> None:
    """Raise StoreError if the name is taken, UsageError if it is not a valid name."""
    check_name(collection)
    if collection in store.collections() or collection in store.aliases():
        raise StoreError(f"{collection!r} at {store.location} exists already", hint="choose another name")


def check_exists(store: NameLookup, collection: str) -> None:
    """Raise NoCollection if the collection does not exist."""
    if collection not in store.collections():
        raise NoCollection(f"no collection {collection!r} at {store.location}", hint="see: retrieval collections")


def check_unused(store: NameLookup, collection: str) -> None:
    """Raise StoreError while an alias points at the collection, NoCollection if it does not exist."""
    aliases = [alias for alias, target in store.aliases().items() if target == collection]
    if aliases:  # a server would drop the alias too
        raise StoreError(f"{collection} is in use by alias {', '.join(aliases)}", hint="move that first")
    check_exists(store, collection)


def check_alias(store: NameLookup, alias: str, collection: str) -> None:
    """Raise StoreError if the alias is a collection's name, NoCollection if the collection does not exist."""
    check_name(alias)
    check_exists(store, collection)
    if alias in store.collections():
        raise StoreError(f"{alias!r} at {store.location} is a collection's name", hint="choose another --alias")


def check_queries(collection: str, codes: np.ndarray, dim: int, k: int, filters: int) -> None:
    """Raise UsageError for k < 1, BadCode for query codes that are not finite float32[q, dim]."""
    if k < 1:
        raise UsageError(f"{k} is less than 1", option="k", hint="ask for at least 1 hit")
    if codes.ndim != 2 or codes.shape[1] != dim or codes.dtype != np.float32:
        raise BadCode(
            f"query codes are {codes.dtype}{list(codes.shape)}, but {collection} takes float32[q, {dim}]",
            hint="encode with the model that made the collection",
        )
    if not np.isfinite(codes).all():
        raise BadCode("a query code is not finite (NaN or infinite)", hint="is the model damaged?")
    if filters != len(codes):
        raise UsageError(f"{filters} filters for {len(codes)} queries", hint="give one filter per query, or none")


def check_same_space(collection: str, old: CollectionMeta, new: CollectionMeta) -> None:
    """Raise StoreError if new metadata names another model, dimension or distance than the codes have."""
    for name in ("model", "dim", "distance"):
        if getattr(old, name) != getattr(new, name):
            raise StoreError(
                f"{collection}: {name} is {getattr(old, name)} and cannot become {getattr(new, name)}",
                hint="make a new collection",
            )


def size_of(payload: Payload) -> int:
    """Bytes of the payload as JSON; an estimate if small, because encoding each one takes as long as storing it."""
    about = 0
    for name, value in payload.items():
        kind = type(value)
        if kind is str:
            about += len(name) + len(value) + 6
        elif kind in PLAIN:
            about += len(name) + 18
        else:
            break
    else:
        if about <= LITTLE:
            return about
    return len(json.dumps(payload, default=str))


def explain_too_large(payload: Payload) -> str | None:
    """Why a payload cannot be stored; None if it can."""
    if (size := size_of(payload)) <= MOST_PAYLOAD:
        return None
    return f"its payload takes {size:,} bytes, at most {MOST_PAYLOAD:,}; give fewer or shorter metadata columns"


def describe_point(point: str, payload: Payload) -> str:
    """The image's name, for messages."""
    return full_name(payload.get("source", "?"), payload.get("path", point))


def check_payloads(payloads: Mapping[str, Payload]) -> None:
    """Raise StoreError, naming the image, if a payload is too large."""
    for point, payload in payloads.items():
        check_payload(point, payload)


def check_payload(point: str, payload: Payload) -> None:
    """As `check_payloads`, for one."""
    if why := explain_too_large(payload):
        raise StoreError(f"{describe_point(point, payload)}: {why}; nothing of this batch was written")


def check_points(points: Iterable[Point], dim: int) -> None:
    """Raise BadCode for a code that is missing, misshapen or not finite, StoreError for too large a payload.

    Engines do not check this well: Qdrant's gRPC and Edge accept NaN, and the point then ranks first in every search;
    a REST batch with one bad vector stores the others.
    """
    for point in points:
        name = describe_point(point.id, point.payload)
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
        check_payload(point.id, point.payload)


def split_points(points: Sequence[Point], dim: int) -> Iterator[list[Point]]:
    """Cut into writes of at most BATCH_POINTS points and about BATCH_BYTES bytes of JSON."""
    return group_batches(points, lambda point: dim * 20 + size_of(point.payload))


def split_payloads(payloads: Mapping[str, Payload]) -> Iterator[list[tuple[str, Payload]]]:
    """As `split_points`, for payloads by point id."""
    return group_batches(list(payloads.items()), lambda item: 100 + size_of(item[1]))


def group_batches(items: Sequence[T], size: Callable[[T], int]) -> Iterator[list[T]]:
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
