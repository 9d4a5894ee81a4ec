"""The one interface that both engines meet.

An alias (`images`) points at one collection (`images-20261123t070000z-4f1c2a9b`). People use aliases; every
method that takes `collection` wants the physical name. `resolve` turns one into the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Float32

from retrieval.errors import ModelError, NoCollection, StoreError
from retrieval.filters import Filter
from retrieval.layout import Layout
from retrieval.records import FIELDS, CollectionMeta, Hit, Payload, Point

_TYPES = {"text": "keyword", "number": "integer", "time": "datetime", "truth": "bool"}
INDEXES = {name: _TYPES[field.kind] for name, field in FIELDS.items() if field.indexed}
"""Fields of the payload that an engine keeps an index of, and its type in Qdrant."""

Codes = Float32[np.ndarray, "q d"]

DIVERSITY = 0.5
"""How much differing from what is chosen already counts against being near, in [0, 1]; Qdrant's own default."""
CANDIDATES = 100
"""The nearest among which `diverse` chooses, for each hit wanted ten at least."""


@dataclass(frozen=True, slots=True)
class Condition:
    """How a collection is: `settled` when nothing of it is being rebuilt, `troubles` what does not answer, in words."""

    settled: bool
    troubles: tuple[str, ...] = ()


class Held(Protocol):
    """A lock that this job holds."""

    holder: str
    """What tells it from others; empty where one process has all of the engine."""

    def check(self) -> None:
        """Raise Locked when another job has taken over; spares work for nothing, for each write looks by itself."""


class Store(Protocol):
    """Codes and payloads in named collections. Any number of threads may read while one writes."""

    engine: str
    """`embedded` or `server`."""
    location: str
    """The folder or the URL, for messages; never holds a key."""

    def check(self) -> None:
        """Ask the engine something real; raises StoreUnavailable when it does not answer properly."""

    def create_collection(self, collection: str, meta: CollectionMeta) -> None:
        """Make an empty collection with its metadata and payload indexes; raises StoreError when it exists."""

    def rebuild(self, collection: str, layout: Layout) -> None:
        """Make another index for what is there, in the background; for a collection that nobody searches.

        Raises UsageError where the engine has none.
        """

    def bulk(self, collection: str, like: str | None = None) -> bool:
        """Much is going to be written: make no index meanwhile; or, with `like`, make it now, as in that collection.

        Returns whether there is one to be made.
        """

    def drop_collection(self, collection: str) -> None:
        """Remove a collection; raises StoreError while any alias points at it."""

    def collections(self) -> list[str]:
        """Names of all collections, sorted."""

    def aliases(self) -> dict[str, str]:
        """Alias → collection."""

    def move_alias(self, alias: str, collection: str) -> None:
        """Point the alias at the collection in one step, whether or not it pointed elsewhere before.

        Raises StoreError when a collection already bears the alias's name or the collection does not exist.
        """

    def lock(self, alias: str) -> AbstractContextManager[Held]:
        """Keep other jobs from the alias, the collection it names, and what else the block changes through this store.

        Readers are not kept from it. Every write in the block raises Locked, with nothing written, once another job has
        taken over. Inside another such block it joins that one, to its end. Raises Locked saying who holds it.
        """

    def condition(self, collection: str) -> Condition:
        """Ask every part of the collection, each replica on each peer, with a real query."""

    def describe(self, collection: str | None = None) -> dict[str, Any]:
        """What the engine says of itself and of the collection, for people who look; parts that fail are left out.

        Which facts there are is the engine's own; see `server_facts.describe` and `EdgeCatalog.describe`. Asks little,
        each question bounded as a search is. Raises StoreUnavailable when nothing answers, NoCollection.
        """

    def dashboard(self) -> str | None:
        """Address of the engine's own page; None where it has none, or does not show it in time."""

    def room(self, collection: str) -> tuple[int, int] | None:
        """Bytes that it takes on disk, and bytes that are free there; None where the engine does not say."""

    def metadata(self, collection: str) -> CollectionMeta:
        """What was noted with the collection; raises NoCollection, or StoreError for one that something else made."""

    def set_metadata(self, collection: str, meta: CollectionMeta) -> None:
        """Replace all of it; raises StoreError when it claims another model, dimension or distance."""

    def upsert(self, collection: str, points: Sequence[Point]) -> None:
        """Write points; when it returns, all of them are stored and will survive a crash.

        Any number of points: the engine cuts batches of its own. Checks every code first
        (`checked`), so that no batch can half-land for a bad one.
        """

    def set_payload(self, collection: str, payloads: Mapping[str, Payload]) -> None:
        """Replace the whole payload of the given point ids; codes stay."""

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        """Remove points by id; ids that are not there do not matter."""

    def retrieve(self, collection: str, ids: Sequence[str], *, codes: bool = False) -> dict[str, Point]:
        """Points by id; missing ids are simply not in the answer."""

    def scroll(
        self, collection: str, where: Filter | None = None, *, codes: bool = False, page: int = 1000
    ) -> Iterator[list[Point]]:
        """All points in id order, a page at a time."""

    def count(self, collection: str, where: Filter | None = None) -> int:
        """Exact number of points."""

    def query(
        self,
        collection: str,
        codes: Float32[np.ndarray, "q d"],
        k: int,
        where: Sequence[Filter | None] | None = None,
        *,
        distinct: str | None = None,
        payload: bool = True,
    ) -> list[list[Hit]]:
        """The k nearest of each code, nearest first, ties by id; `where[i]` restricts query i.

        Fewer than k hits when the collection holds fewer. distinct: a field of the payload; the hits then bear k
        different values of it, and all hits that bear one of these are there · payload: False leaves payloads empty,
        where nothing else needs them.
        """

    def recommend(self, collection: str, like: Codes, unlike: Codes, k: int, where: Filter | None = None) -> list[Hit]:
        """The k points that are most like some codes and unlike others, by Qdrant's strategy `best_score`.

        Those nearer to one of `like` than to any of `unlike` come first, the nearest first; distances are to the
        nearest of `like`. Raises as `query`.
        """

    def diverse(
        self, collection: str, code: Float32[np.ndarray, " d"], k: int, where: Filter | None = None
    ) -> list[Hit]:
        """Near points that differ among themselves, k of them, by Qdrant's maximal marginal relevance.

        Carbonell & Goldstein 1998, doi 10.1145/290941.291025. In the order of choice, among the
        nearest `CANDIDATES` that meet the filter. Raises as `query`.
        """

    def sample(self, collection: str, n: int) -> list[Point]:
        """At most n points by chance, others at each call, without their codes."""

    def facet(self, collection: str, field: str, limit: int) -> dict[str, int]:
        """The most frequent values of an indexed text field, the most frequent first, and how many points bear each."""

    def close(self) -> None: ...


def dashboard(store: Store, alias: str) -> str | None:
    """Address of Qdrant's own page on what the alias names, whatever that is at the time; None where there is none."""
    page = store.dashboard()
    return page and f"{page}#/collections/{alias}"


def resolve(store: Store, alias: str) -> str:
    """The collection that the alias points at; raises NoCollection, or StoreError for a collection's own name."""
    found = store.aliases().get(alias)
    if found is not None:
        return found
    if alias in store.collections():
        raise StoreError(f"{alias!r} at {store.location} is a collection, not an alias; choose another --alias")
    raise NoCollection(
        f"no collection {alias!r} at {store.location} yet; make it with: retrieval ingest SOURCE"
        + ("" if alias == "images" else f" --alias {alias}")
    )


def require_model(store: Store, collection: str, fingerprint: str) -> None:
    """Raise ModelError when the collection's codes are another model's: their distances would mean nothing."""
    theirs = store.metadata(collection).model
    if theirs != fingerprint:
        raise ModelError(
            f"collection {collection} holds codes of model {theirs[:8]}, but this is model {fingerprint[:8]};"
            f" pass --model {theirs[:8]}, or make a new collection: retrieval reindex --model {fingerprint[:8]}"
        )
