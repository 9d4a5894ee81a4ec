"""Hold back Ctrl-C and SIGTERM until a write is complete."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def hold_signals() -> Iterator[None]:
    """Hold back the first SIGINT or SIGTERM until the end of the block; a second one is not held back."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def hold(number: int, _frame: FrameType | None) -> None:
        restore()
        came.append(number)

    def restore() -> None:
        for stop, handler in before.items():
            signal.signal(stop, handler)

    before = {stop: signal.signal(stop, hold) for stop in STOPS if signal.getsignal(stop) is not signal.SIG_IGN}
    try:
        yield
    finally:
        restore()
        if came:
            signal.raise_signal(came[0])
