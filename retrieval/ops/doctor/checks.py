"""What a check is given, and what it reports."""

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
class Finding:
    """What one check found. fix: what to do about it, in one line; None where nothing is wrong."""

    check: str
    state: State
    found: str
    fix: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The fix is called `mend` in JSON, which programs read."""
        return {"check": self.check, "state": self.state, "found": self.found, "mend": self.fix}


@dataclasses.dataclass(frozen=True)
class MachineContext:
    """The settings of this machine, and the alias whose collection is checked."""

    settings: Settings
    alias: str

    def call(self, command: str) -> str:
        """The command as the user has to type it for this alias."""
        return with_alias(command, self.alias)


@dataclasses.dataclass(frozen=True)
class EngineContext(MachineContext):
    """An engine that answers. facts: from `Store.describe`, with those of the alias's collection where there is one."""

    store: Store
    facts: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class CollectionContext(EngineContext):
    """The collection that the alias points at. meta: None where it could not be read."""

    collection: str
    meta: CollectionMeta | None


class Check(NamedTuple, Generic[T]):
    """A check by name. fix: what to do when the check itself fails with an error that has no hint."""

    name: str
    inspect: Callable[[T], Iterable[Finding]]
    fix: str


def run_check(check: Check[T], context: T) -> list[Finding]:
    """What the check finds; an error that it raises becomes a finding."""
    try:
        return list(check.inspect(context))
    except (RetrievalError, OSError) as error:
        return [describe_failure(check.name, error, check.fix)]


def describe_failure(name: str, error: Exception, fix: str) -> Finding:
    """An error as a finding. fix: what to do when the error has no hint."""
    hint = error.hint if isinstance(error, RetrievalError) else ""
    return Finding(name, "error", explain_error(error), hint or fix)


def explain_error(error: Exception) -> str:
    """What is wrong, without the hint."""
    return " ".join((error.what() if isinstance(error, RetrievalError) else str(error)).split())
