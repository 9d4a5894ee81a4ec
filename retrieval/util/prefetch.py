"""Pipeline stages that run concurrently, each in its own thread, with a bounded queue between them."""

import contextlib
import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

from retrieval.util.signals import hold_signals

T = TypeVar("T")
_END = object()


def prefetch(items: Iterator[T], size: int) -> Generator[T]:
    """The same items in the same order, computed ahead in a thread, with at most `size` of them in the queue.

    An exception that `items` raises is raised here. Closing this generator stops the thread after its current item,
    and closes `items` there.
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
    try:
        with hold_signals():  # Ctrl-C within `start` would leave a thread that nobody stops
            thread.start()
        while (item := ready.get()) is not _END:
            if isinstance(item, _Raised):
                raise item.error
            yield item
    finally:
        stopped.set()
        with hold_signals():  # a second Ctrl-C likewise: `items` may not be closed while the thread is in it
            while thread.is_alive():  # it may be waiting for room in the queue
                with contextlib.suppress(queue.Empty):
                    ready.get(timeout=0.05)


class _Raised:
    """An exception handed over from the thread."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
