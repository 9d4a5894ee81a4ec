"""A Qdrant server's collections: made, dropped, named by aliases, described by their metadata."""

from contextlib import AbstractContextManager
from typing import Any

from qdrant_client import models

from retrieval.errors import StoreError, StoreUnavailable
from retrieval.records import CollectionMeta
from retrieval.store import base
from retrieval.store.checks import check_alias, check_name, check_new, check_same_space, check_unused
from retrieval.store.connection import Connection, Patience
from retrieval.store.health import condition
from retrieval.store.lock import LOCKS, alias_lock


class Catalog:
    """The half of `Store` that is about whole collections; `ServerStore` adds the points."""

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        patience: Patience | None = None,
        key_name: str = "QDRANT_API_KEY",
    ) -> None:
        """Does not connect yet; raises UsageError for a bad URL or a key over plain http to another host."""
        self._connection = Connection(url, api_key, patience or Patience(), key_name)
        self._client, self._job = self._connection.client, self._connection.job
        self._dims: dict[str, int] = {}
        self.location = self._connection.location

    def create_collection(self, collection: str, meta: CollectionMeta) -> None:
        """Make an empty collection; raises StoreError when the name is taken."""
        check_new(self, collection)
        vectors = models.VectorParams(size=meta.dim, distance=models.Distance(meta.distance))
        try:
            self._job(self._client.create_collection, collection, vectors, metadata=meta.to_json())
        except StoreUnavailable:
            raise
        except StoreError:  # "exists", to a second try: the first timed out and was carried out
            if collection not in self.collections() or self.metadata(collection) != meta:
                raise
        for field, kind in base.INDEXES.items():
            self._job(self._client.create_payload_index, collection, field, models.PayloadSchemaType(kind), wait=True)

    def drop_collection(self, collection: str) -> None:
        """Remove a collection; raises StoreError while any alias points at it."""
        check_unused(self, collection)
        self._job(self._client.delete_collection, collection)

    def collections(self) -> list[str]:
        """Names of all collections, sorted; that of the locks is nobody's business."""
        return sorted(c.name for c in self._job(self._client.get_collections).collections if c.name != LOCKS)

    def aliases(self) -> dict[str, str]:
        """Alias → collection."""
        return {a.alias_name: a.collection_name for a in self._job(self._client.get_aliases).aliases}

    def move_alias(self, alias: str, collection: str) -> None:
        """Point the alias at the collection in one call: nobody ever finds it missing."""
        check_alias(self, alias, collection)
        moves: list[Any] = []
        if alias in self.aliases():
            moves.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)))
        create = models.CreateAlias(collection_name=collection, alias_name=alias)
        moves.append(models.CreateAliasOperation(create_alias=create))
        self._job(self._client.update_collection_aliases, moves)

    def condition(self, collection: str) -> base.Condition:
        """Status, peers and replicas as the server knows them, and a query of every replica."""
        return condition(self._connection, collection)

    def room(self, collection: str) -> None:
        """A server does not tell how large its disk is."""

    def lock(self, alias: str) -> AbstractContextManager[base.Held]:
        """Hold the alias's lock, which the server keeps; it ends by itself when this process falls silent."""
        check_name(alias)
        return alias_lock(self._connection, alias)

    def metadata(self, collection: str) -> CollectionMeta:
        """What the collection says of itself; raises StoreError when something else made it."""
        found = self._job(self._client.get_collection, collection)
        return CollectionMeta.from_json(collection, found.config.metadata)

    def set_metadata(self, collection: str, meta: CollectionMeta) -> None:
        """Replace the metadata."""
        check_same_space(collection, self.metadata(collection), meta)
        self._job(self._client.update_collection, collection, metadata=meta.to_json())

    def close(self) -> None:
        """Let the connections go."""
        self._connection.close()

    def _dim(self, collection: str) -> int:
        """Dimension of its codes, asked for once: it never changes."""
        if collection not in self._dims:
            self._dims[collection] = self.metadata(collection).dim
        return self._dims[collection]
