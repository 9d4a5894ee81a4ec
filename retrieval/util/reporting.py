"""What long jobs call to report how far they are."""

from collections.abc import Callable

ReportCount = Callable[[int, int], None]
"""Called with how many are done, and how many there are."""
ReportStep = Callable[[str, int, int], None]
"""Called with what is done now, how many of it are done, and how many there are."""


def ignore(*_: object) -> None:
    """Report to nobody."""
