"""All errors that users can see: each is one line with what is wrong, where, and what to do, and has an exit code.

The lower rooms raise them; only `cli` turns them into exit codes, and only `web` into HTTP statuses.
"""

from collections.abc import Callable

REFUSED = 3
"""Exit code when the work is done, but some images were refused."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""
TERMINATED = 143
"""Exit code after SIGTERM."""
DEFAULT_ALIAS = "images"
"""The alias that is used if none is given."""


class RetrievalError(Exception):
    """Something went wrong that the user can act on.

    message: what is wrong and where, with both values
    hint: what to do about it, as a command or in words; empty if nothing can be done
    option: the wrong argument by its name in Python (`max_distance`)
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", option: str = "") -> None:
        super().__init__(message)
        self.message, self.hint, self.option = message, hint, option

    def text(self, spell: Callable[[str], str] = str) -> str:
        """Message and hint in one line; `spell` turns the option into the name that the reader knows.

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

    def _render_traceback_(self) -> list[str]:
        """For Jupyter, which would print pages of our code."""
        return [f"{type(self).__name__}: {self}"]


def with_alias(command: str, alias: str | None) -> str:
    """The command with the option for this alias; nothing is added for the default alias or None.

    >>> with_alias("retrieval reindex", "digits"), with_alias("retrieval reindex", "images")
    ('retrieval reindex --alias digits', 'retrieval reindex')
    """
    return command if alias in (None, DEFAULT_ALIAS) else f"{command} --alias {alias}"


class UsageError(RetrievalError):
    """The command line, a setting or an argument makes no sense."""

    exit_code = 2


class FilterError(UsageError):
    """A filter cannot be parsed; `context` are lines that point at the place."""

    def __init__(self, message: str, *context: str, hint: str = "", option: str = "") -> None:
        super().__init__(message, hint=hint, option=option)
        self.context = context


class SourceError(RetrievalError):
    """A source is missing, unreadable, or holds no image."""


class BadImage(RetrievalError):
    """An image cannot be used; the run continues with the others."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.args = where, reason  # pickle makes it from these again in another process
        self.where = where
        self.reason = reason


class ModelError(RetrievalError):
    """A model is missing, damaged, or does not fit the collection."""


class TrainingError(RetrievalError):
    """Training cannot start, or has failed (too few images, NaN, collapsed embedding)."""


class StoreError(RetrievalError):
    """The engine refused a request, or its data are not as expected."""


class NoCollection(StoreError):
    """The alias does not exist yet."""


class NotOurs(StoreError):
    """A collection that another program made, even if its name looks like ours."""


class BadCode(StoreError):
    """An embedding that must not be written: its shape or type is wrong, or it is not finite."""


class StoreUnavailable(StoreError):
    """The engine does not answer, or reports that it is unavailable."""


class StoreDamaged(StoreError):
    """The embedded folder does not contain what its manifest lists."""


class Locked(StoreError):
    """Another job holds the lock."""

    exit_code = 4


class GateRefused(RetrievalError):
    """A new collection does not pass the gate; the live one stays."""

    exit_code = 5
