"""Batches searches: those waiting at the same time are encoded together and sent to the engine together.

No search waits for others to arrive: the next batch fills while the current ones run.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from retrieval.api import Index
from retrieval.search.options import SearchOptions
from retrieval.search.results import Result
from retrieval.search.run import PreparedQuery, encode_all
from retrieval.sources.read import Loaded
from retrieval.web.errors import too_busy
from retrieval.web.metrics import Metrics

MAX_BATCH = 64
"""Maximum number of searches in a batch: the encoder's largest batch size."""
BATCHES = 2
"""Number of batches at once: one is encoded while the engine works on the other."""

Answer = tuple[PreparedQuery, Result]


@dataclass(eq=False)
class QueuedSearch:
    """A prepared search in the queue."""

    prepared: PreparedQuery
    options: SearchOptions
    future: "asyncio.Future[Answer]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


Answers = dict[QueuedSearch, Answer | Exception]


class Batcher:
    """Queues searches in the event loop; `threads` do the work."""

    def __init__(self, index: Index, threads: Executor, metrics: Metrics, waiting: int) -> None:
        """waiting: maximum number of searches in the queue."""
        self._index, self._threads, self._metrics, self._most = index, threads, metrics, waiting
        self._queue: list[QueuedSearch] = []
        self._running: set[asyncio.Task[None]] = set()

    async def search(self, prepared: PreparedQuery, options: SearchOptions) -> Answer:
        """The result of one query, and the query as it was searched with.

        Raises what its batch raised, and HTTPException when too many searches wait.
        """
        if len(self._queue) >= self._most:
            raise too_busy()
        item = QueuedSearch(prepared, options)
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
            batch, self._queue = self._queue[:MAX_BATCH], self._queue[MAX_BATCH:]
            found = await loop.run_in_executor(self._threads, self._work, batch)
            for item, outcome in zip(batch, found, strict=True):
                if item.future.done():  # the client disconnected
                    continue
                if isinstance(outcome, Exception):
                    item.future.set_exception(outcome)
                else:
                    item.future.set_result(outcome)

    def _work(self, batch: Sequence[QueuedSearch]) -> "list[Answer | Exception]":
        """An answer or an error for each search, in their order."""
        done: Answers = {}
        for some in group_by(batch, lambda item: item.prepared.live.collection):
            try:
                prepared = dict(zip(some, self._encode([item.prepared for item in some]), strict=True))
            except Exception as error:  # noqa: BLE001 - passed to the waiting requests
                done |= dict.fromkeys(some, error)
                continue
            for few in group_by(some, lambda item: repr(item.options)):
                done |= self._ask(few, [prepared[item] for item in few])
        return [done[item] for item in batch]

    def _encode(self, items: Sequence[PreparedQuery]) -> list[PreparedQuery]:
        """Encode all images of one collection together."""
        images = sum(isinstance(item.given, Loaded) for item in items)
        if not images:
            return list(items)
        self._metrics.batch_size.observe(images)
        with self._metrics.stage("encode"):
            return encode_all(items)

    def _ask(self, items: Sequence[QueuedSearch], prepared: Sequence[PreparedQuery]) -> Answers:
        """One request to the engine, for searches with the same options."""
        try:
            with self._metrics.stage("engine"):
                answers = self._index.search_prepared(prepared, items[0].options)
        except Exception as error:  # noqa: BLE001 - passed to the waiting requests
            return dict.fromkeys(items, error)
        return dict(zip(items, answers, strict=True))


def group_by(items: Sequence[QueuedSearch], key: Callable[[QueuedSearch], Any]) -> Iterator[list[QueuedSearch]]:
    """Group the items that have the same key."""
    return (list(group) for _, group in groupby(sorted(items, key=key), key))
