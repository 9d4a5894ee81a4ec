"""Every error a user can meet: one line that says what, where and what to do, and an exit code.

The core raises these; only `cli` turns them into exit codes and only `web` into HTTP statuses.
"""

from collections.abc import Callable

REFUSED = 3
"""Exit code when the work is done, but some images were refused."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""
TERMINATED = 143
"""Exit code after SIGTERM."""
DEFAULT_ALIAS = "images"
"""The alias that every command means where none is named."""


class RetrievalError(Exception):
    """Something went wrong that the user can act on.

    message: what is wrong, where, with both values
    hint: what to do about it, as a command or in words; empty where nothing can be done
    option: the argument that is wrong, as Python spells it (`max_distance`)
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", option: str = "") -> None:
        super().__init__(message)
        self.message, self.hint, self.option = message, hint, option

    def text(self, spell: Callable[[str], str] = str) -> str:
        """The whole of it in one line; `spell` writes the option as its reader knows it.

        >>> UsageError("-1 is less than 0", option="max_distance", hint="give 0 or more").text()
        'max_distance: -1 is less than 0; give 0 or more'
        """
        what = self.what(spell)
        return f"{what}; {self.hint}" if self.hint else what

    def what(self, spell: Callable[[str], str] = str) -> str:
        """What is wrong, without the hint."""
        return f"{spell(self.option)}: {self.message}" if self.option else self.message

    def __str__(self) -> str:
        return self.text()


def with_alias(command: str, alias: str | None) -> str:
    """The command as it is typed for this alias; the default one (also None) need not be named.

    >>> with_alias("retrieval reindex", "digits"), with_alias("retrieval reindex", "images")
    ('retrieval reindex --alias digits', 'retrieval reindex')
    """
    return command if alias in (None, DEFAULT_ALIAS) else f"{command} --alias {alias}"


class UsageError(RetrievalError):
    """The command line, a setting or an argument makes no sense."""

    exit_code = 2


class FilterError(UsageError):
    """A filter is not understood; `context` are lines that point at the place."""

    def __init__(self, message: str, *context: str, hint: str = "", option: str = "") -> None:
        super().__init__(message, hint=hint, option=option)
        self.context = context


class SourceError(RetrievalError):
    """A source is missing, unreadable, or holds no image."""


class BadImage(RetrievalError):
    """One image cannot be used; the rest of the run goes on."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.args = where, reason  # what another process makes it from again
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
