"""Follows an alias: which collection it names now, that collection's metadata and its encoder."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from retrieval.errors import NoCollection, StoreUnavailable
from retrieval.search.options import SearchOptions
from retrieval.search.query import Query, Stored
from retrieval.search.results import Result
from retrieval.search.run import LiveCollection, search_batch
from retrieval.store.base import Store, resolve

if TYPE_CHECKING:
    from retrieval.model.base_encoder import BaseEncoder

T = TypeVar("T")

KEPT = 2
"""Encoders kept in memory: that of the live collection, and that of the one before in case of a rollback."""
FRESH_SECONDS = 0.25
"""Seconds an alias lookup is cached: looking it up on a server takes about a millisecond, too much for each search."""
META_SECONDS = 5.0
"""Seconds a collection's metadata is cached. An ingest updates the sources' locations, the distances between neighbours
and the public URL while the collection stays the same."""


class AliasFollower:
    """Searches the collection that an alias names, from any number of threads, for as long as the process runs.

    It notices a swap within FRESH_SECONDS, and new metadata within META_SECONDS after that. Encoders are kept.
    """

    def __init__(self, store: Store, alias: str, load: "Callable[[str], BaseEncoder]") -> None:
        """load: makes the encoder of a model, given its fingerprint."""
        self._store, self._alias, self._load = store, alias, load
        self._known: dict[str, tuple[LiveCollection, float]] = {}  # and when its metadata was last read
        self._encoders: dict[str, BaseEncoder] = {}
        self._loading = threading.Lock()
        self._looked = float("-inf")
        self.last: LiveCollection | None = None
        """The live collection at the last lookup."""

    def live(self) -> LiveCollection:
        """Ask the engine which collection the alias names. Raises NoCollection."""
        looked = time.monotonic()
        collection = resolve(self._store, self._alias)
        self.last, self._looked = self._describe(collection, looked), looked
        return self.last

    def _describe(self, collection: str, now: float) -> LiveCollection:
        """The collection, with metadata no older than META_SECONDS unless the engine cannot return it.

        When several threads ask at once, one reads the metadata and the others use what is cached.
        """
        live, asked = self._known.get(collection, (None, now))
        if live is None or now - asked >= META_SECONDS:
            if live is not None:
                self._keep(live, now)
            try:
                live = LiveCollection(collection, self._store.metadata(collection), self._encoder)
            except StoreUnavailable:  # a cluster with a hanging node can still be searched
                if live is None:
                    raise
            self._keep(live, now)
        return live

    def _keep(self, live: LiveCollection, now: float) -> None:
        others = {name: known for name, known in self._known.items() if name != live.collection}
        self._known = dict([*others.items(), (live.collection, (live, now))][-KEPT:])

    def current(self) -> LiveCollection:
        """As `live`, but from the cache if that is no older than FRESH_SECONDS."""
        fresh = time.monotonic() - self._looked < FRESH_SECONDS
        return self.last if fresh and self.last else self.live()

    def search(
        self,
        queries: Sequence[Query | Stored],
        options: SearchOptions = SearchOptions(),  # noqa: B008 - frozen
    ) -> list[Result]:
        """The nearest of each query, all from one collection and by its own encoder. Raises as `ask`."""
        return self.ask(lambda live: search_batch(self._store, live, queries, options))

    def ask(self, question: Callable[[LiveCollection], T], live: LiveCollection | None = None) -> T:
        """Call `question` with the live collection; once more with its successor if it has been dropped meanwhile.

        live: the collection to begin with (default: the current one).
        Raises NoCollection, ModelError for a model that is not here, and what `question` raises.
        """
        live = live or self.current()
        try:
            return question(live)
        except NoCollection:
            successor = self.live()
            if successor.collection == live.collection:
                raise
            return question(successor)

    def _encoder(self, model: str) -> "BaseEncoder":
        """Load each model once; the last KEPT of them stay."""
        with self._loading:
            if model not in self._encoders:
                self._encoders = dict([*self._encoders.items(), (model, self._load(model))][-KEPT:])
            return self._encoders[model]
