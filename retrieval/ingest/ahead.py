"""Stages of a pipeline that work at the same time: each in a thread of its own, with a bounded queue between."""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
_END = object()


def prefetch(items: Iterator[T], size: int) -> Generator[T]:
    """The same items in order, made by a thread of their own while at most `size` of them wait.

    An exception of theirs is raised here. Closing this generator stops the thread after the item that it is at, and
    closes `items` in it.
    """
    ready: queue.Queue[Any] = queue.Queue(size)
    stopped = threading.Event()

    def work() -> None:
        last: object = _END
        try:
            for item in items:
                ready.put(item)
                if stopped.is_set():
                    break
        except BaseException as error:  # noqa: BLE001 - raised again by the reader
            last = _Raised(error)
        finally:
            try:
                if close := getattr(items, "close", None):
                    close()
            finally:
                ready.put(last)

    thread = threading.Thread(target=work, name="ahead", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not _END:
            if isinstance(item, _Raised):
                raise item.error
            yield item
    finally:
        stopped.set()
        while thread.is_alive():  # it may be waiting for room in the queue
            try:
                ready.get(timeout=0.05)
            except queue.Empty:
                continue
        thread.join()


class _Raised:
    """An exception on its way from the thread."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
