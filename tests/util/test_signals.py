"""A signal during a write is held back, once, until the write is complete."""

import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import pytest

from retrieval.util.signals import STOPS, hold_signals


@pytest.fixture(params=STOPS, ids=lambda stop: stop.name)
def stop(request: pytest.FixtureRequest) -> Iterator[signal.Signals]:
    """One of the signals; its handler is restored after the test."""
    before = {number: signal.getsignal(number) for number in STOPS}
    yield request.param
    for number, handler in before.items():
        signal.signal(number, handler)


def noting(what: list[str]) -> Callable[[int, FrameType | None], None]:
    def note(number: int, _frame: FrameType | None) -> None:
        what.append(signal.Signals(number).name)

    return note


def test_the_first_signal_is_delivered_once_at_the_end(stop: signal.Signals) -> None:
    happened: list[str] = []
    handler = noting(happened)
    signal.signal(stop, handler)
    with hold_signals():
        signal.raise_signal(stop)
        happened.append("written")
    assert happened == ["written", stop.name]
    assert signal.getsignal(stop) is handler
    signal.raise_signal(stop)
    assert happened == ["written", stop.name, stop.name]


def test_a_second_one_is_not_held_back(stop: signal.Signals) -> None:
    happened: list[str] = []
    for number in STOPS:
        signal.signal(number, noting(happened))
    with hold_signals():
        signal.raise_signal(stop)
        signal.raise_signal(signal.SIGTERM)
        happened.append("written")
    assert happened == ["SIGTERM", "written", stop.name]


def test_it_is_delivered_even_if_the_block_fails(stop: signal.Signals) -> None:
    happened: list[str] = []
    signal.signal(stop, noting(happened))

    def fail() -> None:
        with hold_signals():
            signal.raise_signal(stop)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert happened == [stop.name]


def test_handlers_are_restored_without_a_signal(stop: signal.Signals) -> None:
    happened: list[str] = []
    handler = noting(happened)
    signal.signal(stop, handler)
    with hold_signals():
        assert signal.getsignal(stop) is not handler
    assert (signal.getsignal(stop), happened) == (handler, [])


def test_an_ignored_signal_stays_ignored(stop: signal.Signals) -> None:
    signal.signal(stop, signal.SIG_IGN)
    with hold_signals():
        assert signal.getsignal(stop) is signal.SIG_IGN
        signal.raise_signal(stop)
    assert signal.getsignal(stop) is signal.SIG_IGN


def test_in_another_thread_nothing_is_held_back(stop: signal.Signals) -> None:
    """Only the main thread may set a handler."""
    handler, done = signal.getsignal(stop), list[bool]()

    def work() -> None:
        with hold_signals():
            done.append(signal.getsignal(stop) is handler)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert done == [True]
