"""Pipeline stages that run concurrently, each in its own thread, with a bounded queue between them."""

import queue
import threading
from collections.abc import Generator, Iterator
from typing import Any, TypeVar

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
    """An exception handed over from the thread."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
