"""Callbacks by which long jobs report progress."""

from collections.abc import Callable

ReportCount = Callable[[int, int], None]
"""Called with the number done and the total."""
ReportStep = Callable[[str, int, int], None]
"""Called with the name of the current step, the number done and the total."""
ReportNote = Callable[[str], None]
"""Called with a remark about how the result came about."""


def ignore(*_: object) -> None:
    """A callback that does nothing."""
