"""The service's state: the open index, thread pools, health."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar, cast

from fastapi import Request

from retrieval import __version__
from retrieval.api import Index
from retrieval.errors import NoCollection, RetrievalError, StoreError, StoreUnavailable
from retrieval.schema.records import seconds_since
from retrieval.web.batching import BATCHES, Batcher
from retrieval.web.decoders import Decoders
from retrieval.web.errors import EMPTY, NO_MODEL, client_message
from retrieval.web.limits import Limits, client_group
from retrieval.web.listings import Listings
from retrieval.web.maps import Maps
from retrieval.web.metrics import Metrics
from retrieval.web.renditions import Renditions

P = ParamSpec("P")
T = TypeVar("T")
LOG = logging.getLogger("retrieval.web")

WATCH_SECONDS = 2.0
"""Seconds between checks for a new live collection, so that its model is loaded before most searches need it."""
HEALTH_SECONDS = 1.0
"""Seconds the result of a health check is cached, because anyone may ask for it."""


class Service:
    """Shared by all requests; runs blocking work in its thread pools, never in the event loop."""

    def __init__(self, index: Index, limits: Limits) -> None:
        self.index, self.limits, self.metrics = index, limits, Metrics()
        self.decoders = Decoders(limits)
        self.renditions = Renditions(index.settings.renditions, limits.renditions)
        self.drawing = ThreadPoolExecutor(limits.decoders, "draw")
        self.asking = ThreadPoolExecutor(limits.askers, "ask")
        self._searching = ThreadPoolExecutor(BATCHES, "search")
        self.batcher = Batcher(index, self._searching, self.metrics, limits.waiting)
        self.listings = Listings(index)
        self.maps = Maps(index)
        self._health: tuple[float, RetrievalError | None] = (float("-inf"), None)
        self.metrics.follow(self.facts)

    async def run(self, pool: Executor, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run a function in a thread of the pool and return its result."""
        return await asyncio.get_running_loop().run_in_executor(pool, lambda: function(*args, **kwargs))

    def count(self, error: RetrievalError) -> None:
        """Add an error to the metrics and to the log, which may contain paths of this machine."""
        self.metrics.engine_errors.labels(type(error).__name__).inc()
        LOG.error("%s", error)

    def check(self) -> None:
        """Send the engine a real query, or repeat the result of a recent one. Raises RetrievalError."""
        at, error = self._health
        if time.monotonic() - at > HEALTH_SECONDS:
            try:
                self.index.check()
                error = None
            except RetrievalError as found:
                error = found
            self._health = (time.monotonic(), error)
        if error is not None:
            raise error

    def status(self) -> dict[str, Any]:
        """The status for the page's header; without paths or addresses of this machine, except the dashboard's URL."""
        facts: dict[str, Any] = {
            "version": __version__,
            "alias": self.index.alias,
            "state": "ready",
            "message": None,
            "engine": self.index.engine,
            "collection": None,
            "points": 0,
            "model": None,
            "image_size": None,
            "channels": None,
            "created": None,
            "verdict": None,
            "weak": None,
            "quality": None,
            "measured": None,
            "sources": [],
            "dashboard": None,
            "upload_bytes": self.limits.upload,
        }
        try:
            found = self.index.status()
        except StoreError as error:
            state = "no-collection" if isinstance(error, NoCollection) else "engine-down"
            return {**facts, "state": state, "message": client_message(error)}
        meta = found.meta
        facts |= {"collection": found.collection, "points": found.points, "dashboard": found.dashboard}
        facts |= {"model": meta.model, "channels": meta.channels}
        facts |= {"image_size": list(meta.image_size), "created": meta.created, "sources": sorted(meta.sources)}
        facts |= {"verdict": meta.verdict and str(meta.verdict), "weak": meta.weakness}
        if meta.verdict:
            facts |= {"quality": meta.verdict.quality, "measured": meta.verdict.measured}
        if not found.points:
            return {**facts, "state": "empty", "message": EMPTY}
        if not found.model_found:
            return {**facts, "state": "no-model", "message": NO_MODEL}
        return facts

    def facts(self) -> dict[str, Any]:
        """For the metrics: `up`, `alias`, and, while the engine is up, the fields of the status."""
        with contextlib.suppress(NoCollection):
            try:
                self.check()
            except StoreUnavailable:  # a second query would take as long again
                return {"alias": self.index.alias, "up": False, "collection": None}
        status = self.status()
        age = seconds_since(status["created"]) if status["created"] else None
        return {**status, "up": status["state"] != "engine-down", "age": age}

    async def watch(self) -> None:
        """Load the live collection's model, again after each swap, until cancelled."""
        while True:
            try:
                await self.run(self.asking, self.index.warm)
            except RetrievalError:  # a search reports it
                pass
            except Exception:  # a bug: `readyz` stays 503, and the next attempt may succeed
                LOG.exception("the model cannot be loaded")
            await asyncio.sleep(WATCH_SECONDS)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Watch for new collections and decode images, for the duration of the block; then close."""
        tasks = [asyncio.create_task(self.watch()), asyncio.create_task(self.decoders.start())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await self.decoders.close()
            await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Stop the thread pools; running work is finished first, waiting work is cancelled."""
        self.maps.close()
        for pool in (self.drawing, self.asking, self.listings.pool, self._searching):
            pool.shutdown(wait=True, cancel_futures=True)


def client_of(request: Request) -> str:
    """Whose request it is: the address, of IPv6 the network that one customer gets; empty for a local socket."""
    return client_group(request.client.host if request.client else "")


def service_of(request: Request) -> Service:
    """The service that the application was made with."""
    return cast("Service", request.app.state.service)
