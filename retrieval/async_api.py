"""The Python API for programs with an event loop: `Index`, whose calls run in threads and are awaited."""

import asyncio
import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Concatenate, ParamSpec, TypeVar

from retrieval.api import Index

P = ParamSpec("P")
T = TypeVar("T")

WORKERS = 4
END: Any = object()
"""What `next` returns when nothing is left."""


def _opened(open_index: Callable[P, Index]) -> "Callable[P, Coroutine[Any, Any, AsyncIndex]]":
    """Open in a thread."""

    @functools.wraps(open_index)
    async def call(*args: P.args, **kwargs: P.kwargs) -> "AsyncIndex":
        return AsyncIndex(await asyncio.to_thread(open_index, *args, **kwargs))

    shown = inspect.signature(open_index).replace(return_annotation="AsyncIndex")
    call.__signature__ = shown  # type: ignore[attr-defined]
    return call


def _awaited(
    method: Callable[Concatenate[Index, P], T],
) -> "Callable[Concatenate[AsyncIndex, P], Coroutine[Any, Any, T]]":
    """The same method, in a thread of the index; with the same arguments, result and errors."""

    @functools.wraps(method)
    async def call(self: "AsyncIndex", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.wrap_future(self._threads.submit(method, self.sync, *args, **kwargs))

    return call


def _iterated(
    method: Callable[Concatenate[Index, P], Iterator[T]],
) -> "Callable[Concatenate[AsyncIndex, P], AsyncGenerator[T, None]]":
    """The same method, for `async for`: each step is made in a thread, when it is asked for."""

    @functools.wraps(method)
    async def call(self: "AsyncIndex", /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T, None]:
        items = method(self.sync, *args, **kwargs)
        step: Future[T] = Future()
        try:
            while (item := await asyncio.wrap_future(step := self._threads.submit(next, items, END))) is not END:
                yield item
        finally:
            close = getattr(items, "close", lambda: None)
            if step.done():
                await asyncio.to_thread(close)
            else:  # it was cancelled while a thread makes it
                step.add_done_callback(lambda _: close())

    return call


class AsyncIndex:
    """An `Index` whose calls are awaited: each runs in one of a few threads, so that the event loop goes on meanwhile.

    Methods take, return and raise what those of `Index` do; those that yield are for `async for`. For all others there
    is `sync`, the index itself.

    At most `workers` calls run at once, the others wait for their turn. A call that is cancelled while it waits never
    begins. One that has begun cannot be stopped: it keeps its thread until it ends, and its result is dropped; an
    iteration ends after its current step. Closing is as for `Index`: the engine is closed at once, and calls under way,
    waiting or made later raise StoreError. It is a context manager: `async with await AsyncIndex.open() as index`.
    """

    open = staticmethod(_opened(Index.open))

    def __init__(self, index: Index, workers: int = WORKERS) -> None:
        """index: an open one, which this one closes.

        workers: number of calls at once, at least 1
        """
        self.sync = index
        # Never shut down: a call after `close` must raise what `Index` raises. The threads end with this object.
        self._threads = ThreadPoolExecutor(workers, "index")

    search = _awaited(Index.search)
    search_many = _iterated(Index.search_many)
    like = _awaited(Index.like)
    explain = _awaited(Index.explain)
    duplicates = _iterated(Index.duplicates)
    outliers = _awaited(Index.outliers)
    export = _awaited(Index.export)
    status = _awaited(Index.status)
    warm = _awaited(Index.warm)
    points = _awaited(Index.points)
    sample = _awaited(Index.sample)
    facets = _awaited(Index.facets)
    image = _awaited(Index.image)
    reconstruct = _awaited(Index.reconstruct)

    async def close(self) -> None:
        """Close the engine, without a wait for calls under way; the images of earlier hits can still be read."""
        await asyncio.to_thread(self.sync.close)

    async def __aenter__(self) -> "AsyncIndex":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
