"""What a check says, and what it is told."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from retrieval.config import Settings
from retrieval.errors import RetrievalError
from retrieval.records import CollectionMeta
from retrieval.store.base import Store

State = Literal["ok", "warning", "error"]
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """What one check found. mend: what to do, in one line; None where all is well."""

    check: str
    state: State
    found: str
    mend: str | None = None

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Machine:
    """Where we are, and which collection is meant."""

    settings: Settings
    alias: str

    def call(self, command: str) -> str:
        """The command as it has to be typed for this alias."""
        return command if self.alias == "images" else f"{command} --alias {self.alias}"


@dataclasses.dataclass(frozen=True)
class Engine(Machine):
    """An engine that answers. facts: as `Store.describe` gives them, of the alias's collection where there is one."""

    store: Store
    facts: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Live(Engine):
    """The collection that the alias points at. meta: None where the engine would not say in time."""

    collection: str
    meta: CollectionMeta | None


class Check(NamedTuple, Generic[T]):
    """A check by name. mend: what to do when it cannot even look, and the error does not say."""

    name: str
    look: Callable[[T], Iterable[Row]]
    mend: str


def rows(check: Check[T], case: T) -> list[Row]:
    """What the check says; an error that it meets is what it found."""
    try:
        return list(check.look(case))
    except (RetrievalError, OSError) as error:
        return [failed(check.name, error, check.mend)]


def failed(name: str, error: Exception, mend: str) -> Row:
    """An error as a row: our messages say what is wrong, a semicolon, and the way out."""
    found, way_out = parted(" ".join(str(error).split()))
    return Row(name, "error", found, way_out or mend)


def parted(message: str) -> tuple[str, str]:
    """A message at its first semicolon outside of brackets; the second part is empty where there is none.

    >>> parted("it does not answer (refused; 4 s); is it running?")
    ('it does not answer (refused; 4 s)', 'is it running?')
    """
    depth = 0
    for place, letter in enumerate(message):
        depth += (letter in "([") - (letter in ")]")
        if depth <= 0 and message.startswith("; ", place):
            return message[:place], message[place + 2 :]
    return message, ""
