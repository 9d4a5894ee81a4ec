"""A Qdrant server's collections: create, drop, point aliases at them, read and write their metadata."""

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from qdrant_client import models

from retrieval.errors import Locked, StoreError, StoreUnavailable
from retrieval.schema.index_config import Layout
from retrieval.schema.records import CollectionMeta
from retrieval.store import base
from retrieval.store.qdrant.connection import Connection, TimeLimits
from retrieval.store.qdrant.describe import describe_server, has_dashboard
from retrieval.store.qdrant.health import check_health
from retrieval.store.qdrant.index_config import (
    NO_INDEXING,
    count_peers,
    hnsw_config,
    optimizers_config,
    payload_index,
    quantization_config,
    sharding_config,
    vectors_on_disk,
)
from retrieval.store.qdrant.lock import LOCKS, JoinedLock, hold
from retrieval.store.validation import check_alias, check_name, check_new, check_same_space, check_unused


class Catalog:
    """The methods of `Store` and `Server` that handle whole collections; `ServerStore` adds those for points."""

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        time_limits: TimeLimits | None = None,
        key_name: str = "QDRANT_API_KEY",
    ) -> None:
        """Does not connect yet. Raises UsageError for a bad URL, or a key over plain http to another host.

        url: of a server, or of several nodes of one cluster, separated by commas
        time_limits: time limits
        key_name: the setting that holds the key, for messages
        """
        self._connection = Connection(url, api_key, time_limits or TimeLimits(), key_name)
        self._client, self._job = self._connection.client, self._connection.job
        self._spaces: dict[str, tuple[int, Layout]] = {}
        self._job_has_begun = self._dashboard = False
        self.location = self._connection.location

    def create_collection(self, collection: str, meta: CollectionMeta) -> None:
        """Make an empty collection, distributed over the peers as its layout says; raises StoreError if it exists."""
        check_new(self, collection)
        layout = meta.layout
        vectors = models.VectorParams(
            size=meta.dim, distance=models.Distance(meta.distance), on_disk=vectors_on_disk(layout)
        )
        try:
            self._job(
                self._client.create_collection,
                collection,
                vectors,
                hnsw_config=hnsw_config(layout),
                optimizers_config=optimizers_config(layout, meta.dim),
                quantization_config=quantization_config(layout),
                metadata=meta.to_json(),
                **sharding_config(layout, count_peers(self._connection)),
            )
        except StoreUnavailable:
            raise
        except StoreError:  # "exists" at the second try: the first timed out, but the server did it
            if collection not in self.collections() or self.metadata(collection) != meta:
                raise
        for field, kind in base.INDEXES.items():
            self._job(self._client.create_payload_index, collection, field, payload_index(kind), wait=True)

    def rebuild_index(self, collection: str, layout: Layout) -> None:
        """Start building another index, in the background; shards and replicas stay."""
        meta = replace(self.metadata(collection), layout=layout)
        self._job(
            self._client.update_collection,
            collection,
            vectors_config={"": models.VectorParamsDiff(on_disk=vectors_on_disk(layout))},
            hnsw_config=hnsw_config(layout),
            optimizers_config=optimizers_config(layout, meta.dim),
            quantization_config=quantization_config(layout) or models.Disabled.DISABLED,
            metadata=meta.to_json(),
        )
        self._wait_for_metadata(collection, meta)
        self._spaces[collection] = (meta.dim, layout)

    def defer_indexing(self, collection: str) -> None:
        """Build no index yet: a million codes are stored and indexed in 0.88 of the time, with 2/3 of the CPU time."""
        self._job(self._client.update_collection, collection, optimizers_config=NO_INDEXING)

    def resume_indexing(self, collection: str) -> bool:
        """Index as the collection's layout says; returns whether there are enough codes for a graph."""
        dim, layout = self._space(collection)
        config = optimizers_config(layout, dim)
        self._job(self._client.update_collection, collection, optimizers_config=config)
        return bool(self._job(self._client.count, collection, exact=True).count >= layout.graph_from)

    def drop_collection(self, collection: str) -> None:
        """Remove a collection; raises StoreError while any alias points at it."""
        self._take(collection)  # before the check: from now on no other job can point an alias at it
        check_unused(self, collection)
        self._job(self._client.delete_collection, collection)

    def collections(self) -> list[str]:
        """Names of all collections, sorted, without the internal one for locks."""
        return sorted(c.name for c in self._job(self._client.get_collections).collections if c.name != LOCKS)

    def aliases(self) -> dict[str, str]:
        """Alias → collection."""
        return {a.alias_name: a.collection_name for a in self._job(self._client.get_aliases).aliases}

    def move_alias(self, alias: str, collection: str) -> None:
        """Point the alias at the collection in one request, so that readers never find it missing.

        Raises Locked, saying where the alias points, if the lock was lost meanwhile; StoreError if another program
        moved the alias at the same moment.
        """
        self._take(collection)
        check_alias(self, alias, collection)
        # Creating moves it; deleting it first would lose it if the server's disk is full in between.
        move = models.CreateAlias(collection_name=collection, alias_name=alias)
        try:
            self._job(self._client.update_collection_aliases, [models.CreateAliasOperation(create_alias=move)])
        except Locked as error:
            now = self.aliases().get(alias)
            raise Locked(f"{error.message}; {alias} points at {now} now", hint=error.hint) from error
        self._connection.wait_for_each(
            self._client.get_aliases,
            lambda said: any(a.alias_name == alias and a.collection_name == collection for a in said.aliases),
        )
        if (found := self.aliases().get(alias)) != collection:
            raise StoreError(
                f"{alias} at {self.location} points at {found} now, just after it was moved to {collection}"
            )

    def health(self, collection: str) -> base.CollectionHealth:
        """Status, peers and replicas as the server reports them, and a query to every replica."""
        return check_health(self._connection, collection)

    def describe(self, collection: str | None = None) -> dict[str, Any]:
        """Version, nodes and peers, replicas, index and locks: see `qdrant.describe`."""
        return describe_server(self._connection, collection)

    def dashboard(self) -> str | None:
        """`/dashboard` of the first node, if that serves it; asked until it once did."""
        self._dashboard = self._dashboard or has_dashboard(self.location)
        return f"{self.location}/dashboard" if self._dashboard else None

    def disk_usage(self, collection: str) -> None:
        """Unknown: Qdrant's API does not report it."""

    def lock(self, alias: str) -> AbstractContextManager[base.Held]:
        """Hold the alias and its collection; the record lies on the server and expires if this process stops.

        Every other collection that is changed through this store is held too, until the block ends.
        """
        check_name(alias)
        return hold(self._connection, alias, self.aliases)

    def join_lock(self, alias: str, holder: str) -> base.Held:
        """Work under the lock of another process of the same job, until this store is closed."""
        self._connection.guard = lock = JoinedLock(self._connection, holder)
        lock.take(alias)
        return lock

    def metadata(self, collection: str) -> CollectionMeta:
        """The collection's metadata; raises StoreError if another program made the collection.

        The first call has the short time limit of a query, so that a shard without replicas is reported soon. Later
        calls belong to a job that has begun, and have its time limit.
        """
        ask = self._job if self._job_has_begun else self._connection.query
        found = ask(self._client.get_collection, collection)
        self._job_has_begun = True
        return CollectionMeta.from_json(collection, found.config.metadata)

    def set_metadata(self, collection: str, meta: CollectionMeta) -> None:
        """Replace the metadata."""
        check_same_space(collection, self.metadata(collection), meta)
        self._job(self._client.update_collection, collection, metadata=meta.to_json())
        self._wait_for_metadata(collection, meta)
        self._spaces.pop(collection, None)

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def _wait_for_metadata(self, collection: str, meta: CollectionMeta) -> None:
        self._connection.wait_for_each(
            lambda: self._client.get_collection(collection),
            lambda found: CollectionMeta.from_json(collection, found.config.metadata) == meta,
        )

    def _take(self, collection: str) -> None:
        if self._connection.guard:
            self._connection.guard.take(collection)

    def _space(self, collection: str) -> tuple[int, Layout]:
        """Dimension and layout, read once: they do not change while a collection is searched."""
        if collection not in self._spaces:
            meta = self.metadata(collection)
            self._spaces[collection] = (meta.dim, meta.layout)
        return self._spaces[collection]

    def _dim(self, collection: str) -> int:
        return self._space(collection)[0]

    def _layout(self, collection: str) -> Layout:
        return self._space(collection)[1]
