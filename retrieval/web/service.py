"""What the service keeps between requests: the open index, its threads, its sources, its health."""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

import numpy as np

from retrieval import __version__, checkpoint
from retrieval.encode import BATCH_SIZES
from retrieval.errors import NoCollection, RetrievalError, StoreError, StoreUnavailable
from retrieval.index import Index
from retrieval.records import seconds_since
from retrieval.search.job import Live
from retrieval.sources import Source
from retrieval.sources.open import open_known
from retrieval.store.base import dashboard
from retrieval.web.answers import NO_MODEL, sentence
from retrieval.web.batching import BATCHES, Batcher
from retrieval.web.limits import Limits
from retrieval.web.metrics import Metrics

P = ParamSpec("P")
T = TypeVar("T")
LOG = logging.getLogger("retrieval.web")

WATCH_SECONDS = 2.0
"""Between looks at what is live: its model is made ready before most people ask."""
HEALTH_SECONDS = 1.0
"""How long an answer about health is taken for true: anybody may ask."""
SOURCES_SECONDS = 60.0
"""How long opened sources are kept: an archive may have been replaced."""
EMPTY = "the collection is empty; whoever runs this service fills it with: retrieval ingest SOURCE"


class Service:
    """Made once, used by all requests; blocking work is done in its threads, never in the event loop."""

    def __init__(self, index: Index, limits: Limits) -> None:
        self.index, self.limits, self.metrics = index, limits, Metrics()
        self.decoding = ThreadPoolExecutor(limits.decoders, "decode")
        self.drawing = ThreadPoolExecutor(limits.decoders, "draw")
        self.asking = ThreadPoolExecutor(limits.askers, "ask")
        self._searching = ThreadPoolExecutor(BATCHES, "search")
        self.batcher = Batcher(index.store, self._searching, self.metrics, limits.waiting)
        self._opening = threading.Lock()
        self._opened: tuple[Any, float, dict[str, Source]] = (None, 0.0, {})
        self._health: tuple[float, RetrievalError | None] = (float("-inf"), None)
        self._ready: str | None = None
        self.metrics.follow(self.facts)

    async def run(self, pool: Executor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result, from a thread of the pool."""
        return await asyncio.get_running_loop().run_in_executor(pool, lambda: function(*args, **kwargs))

    def count(self, error: RetrievalError) -> None:
        """Into the metrics and the log, which may name places on this machine."""
        self.metrics.engine_errors.labels(type(error).__name__).inc()
        LOG.error("%s", error)

    def sources(self, live: Live) -> dict[str, Source]:
        """The collection's sources that are in reach, by name."""
        with self._opening:
            known, since, sources = self._opened
            if known != live.meta.sources or time.monotonic() - since > SOURCES_SECONDS:
                sources = open_known(live.meta.sources, self.index.settings)
                self._opened = (dict(live.meta.sources), time.monotonic(), sources)
            return sources

    def check(self) -> None:
        """Ask the engine a real query, or say what it said a moment ago; raises RetrievalError."""
        at, error = self._health
        if time.monotonic() - at > HEALTH_SECONDS:
            try:
                live = self.index.live()
                self.index.store.query(live.collection, np.zeros((1, live.meta.dim), np.float32), 1)
                error = None
            except RetrievalError as found:
                error = found
            self._health = (time.monotonic(), error)
        if error is not None:
            raise error

    def ready(self) -> bool:
        """Whether the model of what is live has been made ready."""
        last = self._ready
        return last is not None and self.index.reader.current().collection == last

    def status(self) -> dict[str, Any]:
        """What the page's head shows; names no place on this machine but the engine's own page."""
        store, alias = self.index.store, self.index.alias
        facts: dict[str, Any] = {
            "version": __version__,
            "alias": alias,
            "state": "ready",
            "message": None,
            "engine": store.engine,
            "collection": None,
            "points": 0,
            "model": None,
            "image_size": None,
            "channels": None,
            "created": None,
            "sources": [],
            "dashboard": None,
            "upload_bytes": self.limits.upload,
        }
        try:
            live = self.index.live()
            points = store.count(live.collection)
        except StoreError as error:
            state = "no-collection" if isinstance(error, NoCollection) else "engine-down"
            return {**facts, "state": state, "message": sentence(error)}
        meta = live.meta
        facts |= {"dashboard": dashboard(store, alias)}
        facts |= {"collection": live.collection, "points": points, "model": meta.model, "channels": meta.channels}
        facts |= {"image_size": list(meta.image_size), "created": meta.created, "sources": sorted(meta.sources)}
        if not points:
            return {**facts, "state": "empty", "message": EMPTY}
        if checkpoint.of(self.index.settings.models, meta.model) is None:
            return {**facts, "state": "no-model", "message": NO_MODEL}
        return facts

    def facts(self) -> dict[str, Any]:
        """For the metrics: `up`, `alias`, and while it is up what the status says."""
        with contextlib.suppress(NoCollection):
            try:
                self.check()
            except StoreUnavailable:  # to ask again would only take as long again
                return {"alias": self.index.alias, "up": False, "collection": None}
        status = self.status()
        age = seconds_since(status["created"]) if status["created"] else None
        return {**status, "up": status["state"] != "engine-down", "age": age}

    async def watch(self) -> None:
        """Make ready what is live, again after each swap, until cancelled."""
        while True:
            try:
                await self.run(self.asking, self.warm)
            except RetrievalError:  # who searches is told
                pass
            except Exception:  # a defect: `readyz` stays 503, and the next look may go better
                LOG.exception("the model cannot be made ready")
            await asyncio.sleep(WATCH_SECONDS)

    def warm(self) -> None:
        """Load and compile the model of what is live, unless that is done; raises RetrievalError."""
        live = self.index.reader.current()
        if live.collection != self._ready:
            (height, width), channels = live.meta.image_size, live.meta.channels
            for number in BATCH_SIZES:
                live.encoder.encode(np.zeros((number, height, width, channels), np.uint8))
            live.encoder.decode(np.zeros((1, live.meta.dim), np.float32))
            self._ready = live.collection

    def close(self) -> None:
        """Let the threads end; what they do now is finished first."""
        for pool in (self.decoding, self.drawing, self.asking, self._searching):
            pool.shutdown(wait=True, cancel_futures=True)
