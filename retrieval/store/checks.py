"""What both engines refuse before they are asked: names, query codes, and a collection changing its space."""

import re
from typing import Protocol

import numpy as np

from retrieval.errors import BadCode, NoCollection, StoreError, UsageError
from retrieval.records import CollectionMeta

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def check_name(name: str) -> None:
    """Raise UsageError for a name that is not also a safe folder name and part of a URL."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"name {name!r} for a collection or alias: use 1 to 200 letters, digits and . _ -, a letter or digit first"
        )


class Names(Protocol):
    """Of `Store`, what it takes to look up a name."""

    location: str

    def collections(self) -> list[str]: ...

    def aliases(self) -> dict[str, str]: ...


def check_new(store: Names, collection: str) -> None:
    """Raise StoreError for a name that is taken, UsageError for one that cannot be."""
    check_name(collection)
    if collection in store.collections() or collection in store.aliases():
        raise StoreError(f"{collection!r} at {store.location} exists already; choose another name")


def check_exists(store: Names, collection: str) -> None:
    """Raise NoCollection for one that is not there."""
    if collection not in store.collections():
        raise NoCollection(f"no collection {collection!r} at {store.location}; see: retrieval collections")


def check_unused(store: Names, collection: str) -> None:
    """Raise StoreError while an alias points at the collection, NoCollection when there is none."""
    aliases = [alias for alias, target in store.aliases().items() if target == collection]
    if aliases:  # a server would drop it, and the alias with it
        raise StoreError(f"{collection} is in use by alias {', '.join(aliases)}; move that first")
    check_exists(store, collection)


def check_alias(store: Names, alias: str, collection: str) -> None:
    """Raise StoreError for an alias that is a collection's name, NoCollection when there is nothing to point at."""
    check_name(alias)
    check_exists(store, collection)
    if alias in store.collections():
        raise StoreError(f"{alias!r} at {store.location} is a collection's name; choose another --alias")


def check_queries(collection: str, codes: np.ndarray, dim: int, k: int, filters: int) -> None:
    """Raise UsageError for k < 1, BadCode for query codes that are not finite float32[q, dim]."""
    if k < 1:
        raise UsageError(f"k = {k}: ask for at least 1 hit")
    if codes.ndim != 2 or codes.shape[1] != dim or codes.dtype != np.float32:
        raise BadCode(
            f"query codes are {codes.dtype}{list(codes.shape)}, but {collection} takes float32[q, {dim}];"
            " encode with the model that made it"
        )
    if not np.isfinite(codes).all():
        raise BadCode("a query code is not finite (NaN or infinite); is the model damaged?")
    if filters != len(codes):
        raise UsageError(f"{filters} filters for {len(codes)} queries: give one each, or none")


def check_same_space(collection: str, old: CollectionMeta, new: CollectionMeta) -> None:
    """Raise StoreError when new metadata claims another model, dimension or distance than the codes have."""
    for name in ("model", "dim", "distance"):
        if getattr(old, name) != getattr(new, name):
            raise StoreError(
                f"{collection}: {name} is {getattr(old, name)} and cannot become {getattr(new, name)};"
                " make a new collection"
            )
