"""Compile our filters to an engine's: as exactly as the engine can, and never narrower than requested.

If an engine cannot express a condition, its filter lets more points through, and the store checks each of them.
"""

import datetime as dt
import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from retrieval.schema.filters import ID, Bound, Condition, Filter, Match, Prefix, Range
from retrieval.schema.records import FIELDS


class Dialect(Protocol):
    """How an engine writes conditions; None for what it cannot express."""

    def ids(self, ids: Sequence[str]) -> Any: ...

    def any_of(self, field: str, values: Sequence[str] | Sequence[int]) -> Any: ...

    def truth(self, field: str, value: bool, /) -> Any | None: ...

    def numbers(self, field: str, bounds: dict[str, Bound]) -> Any: ...

    def times(self, field: str, bounds: dict[str, Bound]) -> Any: ...

    def prefix(self, field: str, prefix: str) -> tuple[Any, bool]:
        """A condition that every text with that prefix meets, and whether no other text meets it."""

    def all_of(self, must: Sequence[Any], must_not: Sequence[Any], should: Sequence[Any]) -> Any:
        """A filter; it can be used as a condition too."""


class Native(NamedTuple):
    """An engine's condition.

    condition: None lets everything through
    exact: it lets through only points that meet the filter
    """

    condition: Any | None
    exact: bool


ANYTHING = Native(None, exact=False)


def compile_filter(where: Filter | None, dialect: Dialect) -> Native:
    """Our filter as the engine's.

    Excluded contents (SHA-256) are left to the store's own check: any filter doubles the engine's time, while one or
    two more hits cost nothing.
    """
    if where is None:
        return Native(None, exact=True)
    others = tuple(each for each in where.must_not if not is_content(each))
    found = _filter(replace(where, must_not=others), dialect)
    bare = not (where.must or where.should or others)
    return Native(None if bare else found.condition, found.exact and len(others) == len(where.must_not))


def is_content(condition: Condition) -> bool:
    """Whether the condition is about contents (SHA-256)."""
    return isinstance(condition, Match) and condition.field == "sha256"


def _filter(where: Filter, dialect: Dialect) -> Native:
    excluded = {_comparable(each) for each in where.must_not}
    alternatives = [each for each in where.should if _comparable(each) not in excluded]
    if any(_comparable(each) in excluded for each in where.must) or (where.should and not alternatives):
        # Qdrant 1.16.3 does not check a condition in `must_not` if it has looked up the same one in its index
        return Native(dialect.all_of([dialect.ids([])], [], []), exact=True)
    must = [_condition(each, dialect) for each in where.must]
    must_not = [_condition(each, dialect) for each in where.must_not]
    should = [_condition(each, dialect) for each in alternatives]
    exact = all(each.exact for each in (*must, *must_not, *should))
    some = [] if any(each.condition is None for each in should) else [each.condition for each in should]
    return Native(
        dialect.all_of(
            [each.condition for each in must if each.condition is not None],
            [each.condition for each in must_not if each.exact],  # an inexact condition would exclude too much
            some,
        ),
        exact,
    )


def _comparable(condition: Condition) -> Hashable:
    """A value that is equal for conditions with the same meaning, whatever the order of their values."""
    if isinstance(condition, Match):
        return condition.field, frozenset((type(value), value) for value in condition.any_of)
    return condition


def _condition(condition: Condition, dialect: Dialect) -> Native:
    match condition:
        case Filter():
            return _filter(condition, dialect)
        case Match(field, any_of):
            return _match(field, any_of, dialect)
        case Range(field):
            return _range(field, condition.bounds, dialect)
        case Prefix(field, prefix):
            return ANYTHING if field == ID else Native(*dialect.prefix(field, prefix))


def _match(field: str, any_of: Sequence[Any], dialect: Dialect) -> Native:
    """One condition for each type of value."""
    if field == ID:
        return Native(dialect.ids([str(value) for value in any_of]), exact=True)
    texts = [value for value in any_of if isinstance(value, str)]
    whole = [value for value in any_of if isinstance(value, int) and not isinstance(value, bool)]
    parts = [dialect.any_of(field, values) for values in (texts, whole) if values]
    for value in {value for value in any_of if isinstance(value, bool)}:
        if (said := dialect.truth(field, value)) is None:
            return ANYTHING
        parts.append(said)
    if not parts:  # no value can match
        return Native(dialect.ids([]), exact=True)
    return Native(parts[0] if len(parts) == 1 else dialect.all_of([], [], parts), exact=True)


def _is_weaker(name: str, bounds: Mapping[str, Bound]) -> bool:
    """Whether another bound on the same side is tighter: of `gt` and `gte`, Qdrant 1.16.3 applies only `gt`.

    >>> [_is_weaker(name, {"gt": -1, "gte": 0.5}) for name in ("gt", "gte")]
    [True, False]
    """
    numbers: Mapping[str, Any] = bounds
    match name:
        case "gt":
            return "gte" in numbers and numbers["gte"] > numbers["gt"]
        case "gte":
            return "gt" in numbers and numbers["gt"] >= numbers["gte"]
        case "lt":
            return "lte" in numbers and numbers["lte"] < numbers["lt"]
        case _:
            return "lt" in numbers and numbers["lt"] <= numbers["lte"]


def _range(field: str, bounds: dict[str, Bound], dialect: Dialect) -> Native:
    if not bounds:
        return ANYTHING
    kind = FIELDS[field].kind if field in FIELDS else None
    if not all(isinstance(bound, int | float) for bound in bounds.values()):
        if all(isinstance(bound, dt.datetime) for bound in bounds.values()):
            bounds = {name: bound for name, bound in bounds.items() if not _is_weaker(name, bounds)}
        return Native(dialect.times(field, bounds), exact=True) if kind == "time" else ANYTHING
    if kind == "number":  # engines drop the fraction of a bound on whole numbers
        up = {"gt": math.floor, "lte": math.floor, "gte": math.ceil, "lt": math.ceil}
        bounds = {name: float(up[name](bound)) for name, bound in bounds.items()}  # type: ignore[arg-type]
    bounds = {name: bound for name, bound in bounds.items() if not _is_weaker(name, bounds)}
    return Native(dialect.numbers(field, bounds), exact=True)


def exclude(where: Filter | None, *conditions: Condition) -> Filter:
    """A filter for points that meet `where` and none of the conditions."""
    return replace(where, must_not=(*where.must_not, *conditions)) if where else Filter(must_not=conditions)
