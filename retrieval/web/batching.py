"""Searches that wait at the same time are encoded together and sent to the engine together.

Nobody waits for others to come: while a batch is away, the next one gathers.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from starlette.exceptions import HTTPException

from retrieval.reading import Loaded
from retrieval.search.job import Asked, Live, answer, encoded
from retrieval.search.options import Options
from retrieval.search.query import Query, Stored
from retrieval.search.results import Result
from retrieval.store.base import Store
from retrieval.web.answers import TOO_BUSY
from retrieval.web.metrics import Metrics

MOST = 64
"""Searches in a batch: what the encoder and the engine take in one go."""
BATCHES = 2
"""At once: one is encoded while the engine works on the other."""

Answer = tuple[Result, Asked]


@dataclass(eq=False)
class Waiting:
    """A search whose picture is ready: decoded, or a code that the collection holds."""

    live: Live
    query: Query | Stored
    given: Loaded | Asked
    options: Options
    future: "asyncio.Future[Answer]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Batcher:
    """Runs searches in an event loop; the work itself is done by `threads`."""

    def __init__(self, store: Store, threads: Executor, metrics: Metrics, waiting: int) -> None:
        """waiting: searches in the queue at most."""
        self._store, self._threads, self._metrics, self._most = store, threads, metrics, waiting
        self._queue: list[Waiting] = []
        self._running: set[asyncio.Task[None]] = set()

    async def search(self, live: Live, query: Query | Stored, given: Loaded | Asked, options: Options) -> Answer:
        """What one query found, and its code. Raises what its batch raised, HTTPException when too many wait."""
        if len(self._queue) >= self._most:
            raise HTTPException(503, TOO_BUSY)
        item = Waiting(live, query, given, options)
        self._queue.append(item)
        if len(self._running) < BATCHES:
            task = asyncio.create_task(self._run())
            self._running.add(task)
            task.add_done_callback(self._running.discard)
        with self._metrics.stage("wait"):
            return await item.future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue:
            batch, self._queue = self._queue[:MOST], self._queue[MOST:]
            found = await loop.run_in_executor(self._threads, self._work, batch)
            for item, outcome in zip(batch, found, strict=True):
                if item.future.done():  # its client has gone
                    continue
                if isinstance(outcome, Exception):
                    item.future.set_exception(outcome)
                else:
                    item.future.set_result(outcome)

    def _work(self, batch: Sequence[Waiting]) -> "list[Answer | Exception]":
        """An answer or an error for each, in their order."""
        done: dict[Waiting, Answer | Exception] = {}
        for some in grouped(batch, lambda item: item.live.collection):
            try:
                asked = dict(zip(some, self._codes(some), strict=True))
            except Exception as error:  # noqa: BLE001 - handed to those who wait
                done |= dict.fromkeys(some, error)
                continue
            for few in grouped(some, lambda item: repr(item.options)):
                done |= self._ask(few, [asked[item] for item in few])
        return [done[item] for item in batch]

    def _codes(self, items: Sequence[Waiting]) -> list[Asked]:
        """All pictures of one collection through its model."""
        pictures = [item.given for item in items if isinstance(item.given, Loaded)]
        if pictures:
            self._metrics.batch_size.observe(len(pictures))
            with self._metrics.stage("encode"):
                codes = iter(encoded(items[0].live, pictures))
        return [item.given if isinstance(item.given, Asked) else next(codes) for item in items]

    def _ask(self, items: Sequence[Waiting], asked: Sequence[Asked]) -> "dict[Waiting, Answer | Exception]":
        """One request to the engine."""
        first = items[0]
        try:
            with self._metrics.stage("engine"):
                results = answer(self._store, first.live, [item.query for item in items], asked, first.options)
        except Exception as error:  # noqa: BLE001 - handed to those who wait
            return dict.fromkeys(items, error)
        return dict(zip(items, zip(results, asked, strict=True), strict=True))


def grouped(items: Sequence[Waiting], key: Callable[[Waiting], Any]) -> Iterator[list[Waiting]]:
    """Those that have the same key together."""
    return (list(group) for _, group in groupby(sorted(items, key=key), key))
