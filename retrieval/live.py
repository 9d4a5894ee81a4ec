"""What an alias stands for at this moment: a collection, and the encoder that made its codes."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from retrieval.encode import Encoder
from retrieval.errors import NoCollection, StoreUnavailable
from retrieval.search.job import Live, search_batch
from retrieval.search.options import Options
from retrieval.search.query import Query, Stored
from retrieval.search.results import Result
from retrieval.store.base import Store, resolve

T = TypeVar("T")

KEPT = 2
"""Collections whose encoders a reader keeps: the live one, and the one before in case of a way back."""
FRESH_SECONDS = 0.25
"""How long what an alias named is taken for true: to ask a server at each search would cost about a millisecond."""


META_SECONDS = 5.0
"""How long a collection's metadata is taken for true. An ingest writes where its sources are now, the distances between
neighbours and the public URL, while the collection stays the same."""


class Reader:
    """Searches what an alias names, for years and from any number of threads.

    It sees a swap within FRESH_SECONDS, new metadata within META_SECONDS more; encoders stay.
    """

    def __init__(self, store: Store, alias: str, load: Callable[[str], Encoder]) -> None:
        """`load` makes the encoder of a model's fingerprint."""
        self._store, self._alias, self._load = store, alias, load
        self._known: dict[str, tuple[Live, float]] = {}  # and when its metadata were asked for
        self._encoders: dict[str, Encoder] = {}
        self._loading = threading.Lock()
        self._looked = float("-inf")
        self.last: Live | None = None
        """What was live when the engine was asked last."""

    def live(self) -> Live:
        """Where the alias points now, by the engine's word. Raises NoCollection."""
        looked = time.monotonic()
        collection = resolve(self._store, self._alias)
        self.last, self._looked = self._described(collection, looked), looked
        return self.last

    def _described(self, collection: str, now: float) -> Live:
        """The collection, its metadata no older than META_SECONDS unless the engine cannot say.

        Of several threads one asks, and the others go on with what is known.
        """
        live, asked = self._known.get(collection, (None, now))
        if live is None or now - asked >= META_SECONDS:
            if live is not None:
                self._keep(live, now)
            try:
                live = Live(collection, self._store.metadata(collection), self._encoder)
            except StoreUnavailable:  # of a cluster with a hanging node, it is searched all the same
                if live is None:
                    raise
            self._keep(live, now)
        return live

    def _keep(self, live: Live, now: float) -> None:
        others = {name: known for name, known in self._known.items() if name != live.collection}
        self._known = dict([*others.items(), (live.collection, (live, now))][-KEPT:])

    def current(self) -> Live:
        """As `live`, but what the engine said within FRESH_SECONDS is taken for true."""
        fresh = time.monotonic() - self._looked < FRESH_SECONDS
        return self.last if fresh and self.last else self.live()

    def search(
        self,
        queries: Sequence[Query | Stored],
        options: Options = Options(),  # noqa: B008 - frozen
    ) -> list[Result]:
        """The nearest of each query, all from one collection and by its own encoder; raises as `ask`."""
        return self.ask(lambda live: search_batch(self._store, live, queries, options))

    def ask(self, question: Callable[[Live], T]) -> T:
        """The answer to a question about what is live.

        Should that collection be dropped meanwhile, its successor answers. Raises NoCollection, ModelError for a model
        that is not here, and what the question raises.
        """
        live = self.current()
        try:
            return question(live)
        except NoCollection:
            successor = self.live()
            if successor.collection == live.collection:
                raise
            return question(successor)

    def _encoder(self, model: str) -> Encoder:
        """Each model is loaded once, and the last KEPT of them stay."""
        with self._loading:
            if model not in self._encoders:
                self._encoders = dict([*self._encoders.items(), (model, self._load(model))][-KEPT:])
            return self._encoders[model]
