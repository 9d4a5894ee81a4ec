"""What a check says, and what it is told."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, Generic, Literal, NamedTuple, TypeVar

from retrieval.config import Settings
from retrieval.errors import RetrievalError, with_alias
from retrieval.schema.records import CollectionMeta
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
        return with_alias(command, self.alias)


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
    """An error as a row; its own hint says what to do, or else `mend` does."""
    hint = error.hint if isinstance(error, RetrievalError) else ""
    return Row(name, "error", in_one_line(error), hint or mend)


def in_one_line(error: Exception) -> str:
    """What is wrong, without what to do about it."""
    return " ".join((error.what() if isinstance(error, RetrievalError) else str(error)).split())
