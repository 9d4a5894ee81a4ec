"""What an alias stands for at this moment: a collection, and the encoder that made its codes."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from retrieval.encode import Encoder
from retrieval.errors import NoCollection
from retrieval.records import CollectionMeta
from retrieval.search import Query, Result, check_k, search_batch
from retrieval.store.base import Store, resolve

KEPT = 2
"""Collections whose encoders a reader keeps: the live one, and the one before in case of a way back."""


@dataclass(frozen=True, slots=True)
class Live:
    """A collection and the encoder of its codes; they belong together."""

    collection: str
    meta: CollectionMeta
    encoder: Encoder


class Reader:
    """Searches what an alias names, for years and from any number of threads: the next request sees a swap."""

    def __init__(self, store: Store, alias: str, load: Callable[[str], Encoder]) -> None:
        """`load` makes the encoder of a model's fingerprint."""
        self._store, self._alias, self._load = store, alias, load
        self._known: dict[str, Live] = {}
        self._loading = threading.Lock()

    def live(self) -> Live:
        """Where the alias points now, by the engine's word. Raises NoCollection, ModelError for a model not here."""
        collection = resolve(self._store, self._alias)
        with self._loading:
            if collection not in self._known:
                meta = self._store.metadata(collection)
                encoders = {live.meta.model: live.encoder for live in self._known.values()}
                live = Live(collection, meta, encoders.get(meta.model) or self._load(meta.model))
                self._known = dict([*self._known.items(), (collection, live)][-KEPT:])
            return self._known[collection]

    def search(self, queries: Sequence[Query], k: int = 5, *, include_self: bool = False) -> list[Result]:
        """The k nearest of each query, all from one collection and by its own encoder.

        Should that collection be dropped meanwhile, its successor answers the whole request. Raises UsageError for a
        k out of range, and as `live`.
        """
        check_k(k)
        live = self.live()
        try:
            return self._search(live, queries, k, include_self)
        except NoCollection:
            successor = self.live()
            if successor.collection == live.collection:
                raise
            return self._search(successor, queries, k, include_self)

    def _search(self, live: Live, queries: Sequence[Query], k: int, include_self: bool) -> list[Result]:
        return search_batch(self._store, live.encoder, list(queries), live.collection, k, include_self)
