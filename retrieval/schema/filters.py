"""Conditions on a point's id and payload, and whether a given point meets them.

`store.filter_compiler` compiles them to the engines' own filters; people write them in `filter_language`.
"""

import datetime as dt
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

Value = str | int | bool
Bound = int | float | dt.datetime

COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
ID = "id"
"""The name of the point's id among the fields of its payload."""


@dataclass(frozen=True, slots=True)
class Match:
    """True for a point whose `field` is one of `any_of`, of the same type."""

    field: str
    any_of: tuple[Value, ...]

    def holds(self, point: str, payload: Mapping[str, Any], /) -> bool:
        found = point if self.field == ID else payload.get(self.field)
        return any(type(found) is type(value) and found == value for value in self.any_of)


@dataclass(frozen=True, slots=True)
class Range:
    """True for a point whose `field` is a number within all given bounds, or a time if the bounds are times."""

    field: str
    gt: Bound | None = None
    gte: Bound | None = None
    lt: Bound | None = None
    lte: Bound | None = None

    @property
    def bounds(self) -> dict[str, Bound]:
        """The bounds that are given, by name."""
        named = {each.name: getattr(self, each.name) for each in fields(self)[1:]}
        return {name: value for name, value in named.items() if value is not None}

    def holds(self, _point: str, payload: Mapping[str, Any], /) -> bool:
        found: Any = payload.get(self.field)
        if any(isinstance(bound, dt.datetime) for bound in self.bounds.values()):
            found = as_time(found)
        elif isinstance(found, bool) or not isinstance(found, int | float):
            found = None
        if found is None:
            return False
        return all(COMPARE[name](found, bound) for name, bound in self.bounds.items())


@dataclass(frozen=True, slots=True)
class Prefix:
    """True for a point whose `field` is text with that prefix."""

    field: str
    prefix: str

    def holds(self, point: str, payload: Mapping[str, Any], /) -> bool:
        found = point if self.field == ID else payload.get(self.field)
        return isinstance(found, str) and found.startswith(self.prefix)


@dataclass(frozen=True, slots=True)
class Filter:
    """True for points that meet every `must`, at least one `should` if there are any, and no `must_not`."""

    must: tuple["Condition", ...] = ()
    must_not: tuple["Condition", ...] = ()
    should: tuple["Condition", ...] = ()

    def holds(self, point: str, payload: Mapping[str, Any], /) -> bool:
        """Whether a point meets the filter, decided here instead of by an engine."""
        return (
            all(each.holds(point, payload) for each in self.must)
            and not any(each.holds(point, payload) for each in self.must_not)
            and (not self.should or any(each.holds(point, payload) for each in self.should))
        )


Condition = Match | Range | Prefix | Filter


def as_time(value: object) -> dt.datetime | None:
    """ISO 8601 text as a time with a zone, UTC if it names none; None for anything else.

    >>> as_time("2026-11-24"), as_time("noon")
    (datetime.datetime(2026, 11, 24, 0, 0, tzinfo=datetime.timezone.utc), None)
    """
    if not isinstance(value, str):
        return None
    try:
        time = dt.datetime.fromisoformat(value)
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=dt.UTC)


def fields_of(where: Filter) -> set[str]:
    """Names of the fields in a filter."""
    parts = (*where.must, *where.must_not, *where.should)
    return {name for part in parts for name in (fields_of(part) if isinstance(part, Filter) else {part.field})}
