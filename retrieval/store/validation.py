"""Checks before either engine is called: names, query codes, and that new metadata keeps model and dimension."""

import re
from typing import Protocol

import numpy as np

from retrieval.errors import BadCode, NoCollection, StoreError, UsageError
from retrieval.schema.records import CollectionMeta

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def check_name(name: str) -> None:
    """Raise UsageError for a name that is not safe as a folder's name and in a URL."""
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a collection or an alias",
            hint="use 1 to 200 letters, digits and . _ -, starting with a letter or digit",
        )


class Names(Protocol):
    """The part of `Store` that looks up names."""

    location: str

    def collections(self) -> list[str]: ...

    def aliases(self) -> dict[str, str]: ...


def check_new(store: Names, collection: str) -> None:
    """Raise StoreError if the name is taken, UsageError if it is not a valid name."""
    check_name(collection)
    if collection in store.collections() or collection in store.aliases():
        raise StoreError(f"{collection!r} at {store.location} exists already", hint="choose another name")


def check_exists(store: Names, collection: str) -> None:
    """Raise NoCollection if the collection does not exist."""
    if collection not in store.collections():
        raise NoCollection(f"no collection {collection!r} at {store.location}", hint="see: retrieval collections")


def check_unused(store: Names, collection: str) -> None:
    """Raise StoreError while an alias points at the collection, NoCollection if it does not exist."""
    aliases = [alias for alias, target in store.aliases().items() if target == collection]
    if aliases:  # a server would drop the alias too
        raise StoreError(f"{collection} is in use by alias {', '.join(aliases)}", hint="move that first")
    check_exists(store, collection)


def check_alias(store: Names, alias: str, collection: str) -> None:
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
