"""Every error a user can meet: one line that says what, where and what to do, and an exit code.

The core raises these; only `cli` turns them into exit codes and only `web` into HTTP statuses.
"""

REFUSED = 3
"""Exit code when the work is done, but some images were refused."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""
TERMINATED = 143
"""Exit code after SIGTERM."""


class RetrievalError(Exception):
    """Something went wrong that the user can act on; `str()` is the whole message."""

    exit_code = 1


class UsageError(RetrievalError):
    """The command line, a setting or an argument makes no sense."""

    exit_code = 2


class FilterError(UsageError):
    """A filter is not understood; `context` are lines that point at the place."""

    def __init__(self, message: str, *context: str) -> None:
        super().__init__(message)
        self.context = context


class SourceError(RetrievalError):
    """A source is missing, unreadable, or holds no image."""


class BadImage(RetrievalError):
    """One image cannot be used; the rest of the run goes on."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = where
        self.reason = reason


class ModelError(RetrievalError):
    """A model is missing, damaged, or does not fit the collection."""


class TrainingError(RetrievalError):
    """Training cannot start or has gone wrong (too few images, NaN, collapsed code)."""


class StoreError(RetrievalError):
    """The engine refused, or what it holds is not what was expected."""


class NoCollection(StoreError):
    """The alias points at nothing yet."""


class NotOurs(StoreError):
    """A collection that something else made, though it may be called as ours are."""


class BadCode(StoreError):
    """A code that must never be written: wrong shape, wrong type, or not finite."""


class StoreUnavailable(StoreError):
    """The engine does not answer, or answers that it cannot."""


class StoreDamaged(StoreError):
    """The embedded folder does not hold what its manifest says."""


class Locked(StoreError):
    """Another job holds the lock."""

    exit_code = 4


class GateRefused(RetrievalError):
    """A new collection is not as good as it has to be; the live one stays."""

    exit_code = 5
