"""A stage in a thread of its own: in order, bounded, and stopped as soon as the reader is closed."""

import contextlib
import signal
import threading
from collections.abc import Iterator

import pytest

from retrieval.util.prefetch import prefetch

pytestmark = pytest.mark.timeout(60)


def test_order_is_kept_and_the_work_is_done_in_another_thread() -> None:
    threads = set()

    def items() -> Iterator[int]:
        for number in range(1000):
            threads.add(threading.current_thread())
            yield number

    assert list(prefetch(items(), 3)) == list(range(1000))
    assert threads.isdisjoint({threading.current_thread()})


def test_running_ahead_is_bounded() -> None:
    made: list[int] = []
    enough, too_far = threading.Event(), threading.Event()

    def items() -> Iterator[int]:
        for number in range(1, 100):
            made.append(number)
            if number == 4:  # one taken, two in the queue, one just made
                enough.set()
            if number == 5:
                too_far.set()
            yield number

    numbers = prefetch(items(), 2)
    assert next(numbers) == 1
    assert enough.wait(30)
    assert not too_far.wait(0.1)
    assert next(numbers) == 2
    assert too_far.wait(30), "room for one more"
    assert made == [1, 2, 3, 4, 5]
    numbers.close()


def test_closing_closes_what_it_reads_from() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            number = 0
            while True:
                yield (number := number + 1)
        finally:
            closed.set()

    numbers = prefetch(items(), 1)
    assert next(numbers) == 1
    numbers.close()
    assert closed.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name == "ahead"]


def test_an_error_is_raised_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ZeroDivisionError

    numbers = prefetch(items(), 5)
    assert next(numbers) == 1
    with pytest.raises(ZeroDivisionError):
        next(numbers)


@pytest.mark.parametrize("moment", ["start", "is_alive"])
def test_ctrl_c_while_a_thread_starts_or_ends_is_only_ctrl_c(moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what the thread reads from is closed after it."""
    closed, method, begun = threading.Event(), getattr(threading.Thread, moment), threading.Event()

    def items() -> Iterator[int]:
        try:
            while not closed.wait(0.01):
                begun.set()
                yield 1
        finally:
            closed.set()

    def interrupted(thread: threading.Thread) -> object:
        done = method(thread)
        if thread is not threading.current_thread() and begun.is_set():
            monkeypatch.undo()
            signal.raise_signal(signal.SIGINT)
        return done

    def read() -> None:
        with contextlib.closing(prefetch(items(), 1)) as pages:
            assert next(pages) == 1
            monkeypatch.setattr(threading.Thread, moment, interrupted)
            with contextlib.closing(prefetch((page for page in pages), 1)) as batches:
                next(batches)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores Ctrl-C
    try:
        with pytest.raises(KeyboardInterrupt):
            read()
    finally:
        signal.signal(signal.SIGINT, before)
    assert closed.is_set()
