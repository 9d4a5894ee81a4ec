"""The interface that both engines implement, and the operations that only a server has.

An alias (`images`) points at one collection (`images-20261123t070000z-4f1c2a9b`). People use aliases; every
method that takes `collection` wants the collection's own name. `resolve` turns one into the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from retrieval.errors import ModelError, NoCollection, StoreError, with_alias
from retrieval.schema.arrays import Float32
from retrieval.schema.filters import Filter
from retrieval.schema.index_config import Layout
from retrieval.schema.records import FIELDS, CollectionMeta, Hit, Payload, Point

_TYPES = {"text": "keyword", "number": "integer", "time": "datetime", "truth": "bool"}
INDEXES = {name: _TYPES[field.kind] for name, field in FIELDS.items() if field.indexed}
"""Payload fields that an engine indexes → the type of the index in Qdrant."""

Codes = Float32[np.ndarray, "q d"]

DIVERSITY = 0.5
"""Weight of differing from the hits chosen so far, against being near the query, in [0, 1]; Qdrant's default."""
CANDIDATES = 100
"""`diverse` chooses among this many nearest points, or among ten per requested hit if that is more."""


@dataclass(frozen=True, slots=True)
class CollectionHealth:
    """The state of a collection.

    settled: no part of it is being rebuilt
    troubles: parts that do not answer, in words
    """

    settled: bool
    troubles: tuple[str, ...] = ()


class DiskUsage(NamedTuple):
    """Bytes that a collection takes on disk, and bytes that are free there."""

    taken: int
    free: int


@dataclass(frozen=True, slots=True)
class SearchParams:
    """Settings of one search, in place of the collection's layout. None: as in the layout.

    The embedded engine compares every code, so that neither field changes its hits.

    exact: compare every code, without the index
    ef: candidates that the search keeps while it walks the HNSW graph
    """

    exact: bool | None = None
    ef: int | None = None


class Held(Protocol):
    """A lock that this job holds."""

    holder: str
    """Identifies the job, for `Server.join_lock`; empty where one process owns the whole engine."""

    def check(self) -> None:
        """Raise Locked if another job has taken over. Each write checks by itself; this saves doing work in vain."""


class Store(Protocol):
    """Codes and payloads in named collections. Any number of threads may read while one writes.

    Both engines implement all of it. What only a server can do is in `Server`.
    """

    engine: str
    """`embedded` or `server`."""
    location: str
    """The folder or the URL, for messages; never holds a key."""

    @property
    def server(self) -> "Server | None":
        """The same store where it is a server; None for the embedded engine."""

    def check(self) -> None:
        """Send the engine a real request; raises StoreUnavailable if it does not answer properly."""

    def create_collection(self, collection: str, meta: CollectionMeta) -> None:
        """Make an empty collection with its metadata and payload indexes; raises StoreError if it exists."""

    def drop_collection(self, collection: str) -> None:
        """Remove a collection; raises StoreError while any alias points at it."""

    def collections(self) -> list[str]:
        """Names of all collections, sorted."""

    def aliases(self) -> dict[str, str]:
        """Alias → collection."""

    def move_alias(self, alias: str, collection: str) -> None:
        """Point the alias at the collection in one step, whether it is new or pointed elsewhere before.

        Raises StoreError if a collection has the alias's name, NoCollection if the collection does not exist.
        """

    def lock(self, alias: str) -> AbstractContextManager[Held]:
        """Keep other jobs from the alias, its collection, and every collection that the block changes.

        Readers are not affected. Once another job has taken over, every write in the block raises Locked and writes
        nothing. A lock inside another one joins it and lasts as long as the outer one. Raises Locked, naming the
        holder.
        """

    def health(self, collection: str) -> CollectionHealth:
        """Check every part of the collection, each replica on each peer, with a real query."""

    def describe(self, collection: str | None = None) -> dict[str, Any]:
        """What the engine reports about itself and the collection, for people; parts that fail are left out.

        Each engine has its own facts: see `qdrant.describe` and `EdgeCatalog.describe`. Sends few requests, each
        with the time limit of a search. Raises StoreUnavailable if nothing answers, NoCollection.
        """

    def dashboard(self) -> str | None:
        """URL of the engine's own web page; None if it has none, or does not answer in time."""

    def disk_usage(self, collection: str) -> DiskUsage | None:
        """What the collection takes on disk; None if unknown, as on a server: Qdrant's API does not report it."""

    def metadata(self, collection: str) -> CollectionMeta:
        """The collection's metadata; raises NoCollection, or StoreError if another program made the collection."""

    def set_metadata(self, collection: str, meta: CollectionMeta) -> None:
        """Replace the metadata; raises StoreError if model, dimension or distance would change."""

    def upsert(self, collection: str, points: Sequence[Point]) -> None:
        """Write points; when it returns, all of them are stored and will survive a crash.

        Takes any number of points and cuts them into batches. Checks every code first (`check_points`), so that one bad
        code cannot leave a batch half written.
        """

    def set_payload(self, collection: str, payloads: Mapping[str, Payload]) -> None:
        """Replace the whole payload of the given point ids; codes stay."""

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        """Remove points by id; missing ids are ignored."""

    def retrieve(self, collection: str, ids: Sequence[str], *, codes: bool = False) -> dict[str, Point]:
        """Points by id; missing ids are left out."""

    def retrieve_fields(self, collection: str, ids: Sequence[str], fields: Sequence[str]) -> dict[str, Payload]:
        """Some fields of payloads by point id; missing ids and fields are left out.

        Takes less than half the time of `retrieve`, of this process and of the engine.

        fields: names without `.` and brackets, which Qdrant reads as a path
        """

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
        params: SearchParams = SearchParams(),
    ) -> list[list[Hit]]:
        """The k nearest points of each code, nearest first, ties by id; fewer if the collection holds fewer.

        Raises BadCode, UsageError for k below 1, NoCollection, StoreUnavailable.

        codes: float32 [q, d]
        k: hits per query
        where: a filter for each query; None for no filter
        distinct: a payload field; returns all hits that have one of the k nearest different values of it
        payload: False leaves payloads empty where nothing else needs them
        params: overrides the collection's own search settings
        """

    def recommend(self, collection: str, like: Codes, unlike: Codes, k: int, where: Filter | None = None) -> list[Hit]:
        """The k points most like some codes and unlike others, by Qdrant's strategy `best_score`.

        Points nearer to one of `like` than to any of `unlike` come first, the nearest first. Distances are to the
        nearest of `like`. Raises as `query`.
        """

    def diverse(
        self, collection: str, code: Float32[np.ndarray, " d"], k: int, where: Filter | None = None
    ) -> list[Hit]:
        """The k nearest points that also differ from each other, by Qdrant's maximal marginal relevance.

        Carbonell & Goldstein 1998, doi 10.1145/290941.291025. Hits are in the order of choice, among the nearest
        `CANDIDATES` that match the filter. Raises as `query`.
        """

    def sample(self, collection: str, n: int) -> list[Point]:
        """At most n random points, different ones at each call, without their codes."""

    def facet(self, collection: str, field: str, limit: int) -> dict[str, int]:
        """The most frequent values of an indexed text field, most frequent first → number of points."""

    def close(self) -> None: ...


class Server(Store, Protocol):
    """What only a server can do: it has an index to build, and several processes may write to it as one job.

    Get it from `Store.server`. The embedded engine compares every code and belongs to one process.
    """

    def rebuild_index(self, collection: str, layout: Layout) -> None:
        """Start building another index over the stored codes, in the background, and record the layout.

        Shards and replicas stay where they are. For collections that are not in use.
        """

    def defer_indexing(self, collection: str) -> None:
        """Build no index until `resume_indexing`: a bulk load is faster without."""

    def resume_indexing(self, collection: str) -> bool:
        """Index the collection from now on, as its layout says.

        Returns whether there are enough codes for a graph, so that building one starts now.
        """

    def join_lock(self, alias: str, holder: str) -> Held:
        """Work under a lock that another process of the same job holds, until this store is closed.

        holder: `Held.holder` of that lock

        Raises Locked unless that job still holds it.
        """


def dashboard_url(store: Store, alias: str) -> str | None:
    """URL of the engine's own web page about the alias; None if there is none."""
    page = store.dashboard()
    return page and f"{page}#/collections/{alias}"


def resolve(store: Store, alias: str) -> str:
    """The collection that the alias points at; raises NoCollection, or StoreError for a collection's own name."""
    found = store.aliases().get(alias)
    if found is not None:
        return found
    if alias in store.collections():
        raise StoreError(f"{alias!r} at {store.location} is a collection, not an alias", hint="choose another --alias")
    raise NoCollection(
        f"no collection {alias!r} at {store.location} yet",
        hint=f"make it with: {with_alias('retrieval ingest SOURCE', alias)}",
    )


def require_model(store: Store, collection: str, fingerprint: str) -> None:
    """Raise ModelError if another model made the collection's codes: distances to them would mean nothing."""
    theirs = store.metadata(collection).model
    if theirs != fingerprint:
        raise ModelError(
            f"collection {collection} holds codes of model {theirs[:8]}, but this is model {fingerprint[:8]}",
            hint=f"pass --model {theirs[:8]}, or make a new collection: retrieval reindex --model {fingerprint[:8]}",
        )
