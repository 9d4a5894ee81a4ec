"""Filters as Qdrant Edge writes them."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import qdrant_edge as edge

from retrieval.schema.filters import Bound, Filter
from retrieval.store.filter_compiler import Native, compile_filter


class EdgeDialect:
    """`Dialect` of Edge, which cannot match true or false: it takes them for numbers."""

    def ids(self, ids: Sequence[str]) -> Any:
        return edge.HasIdCondition(set(ids))

    def any_of(self, field: str, values: Sequence[str] | Sequence[int]) -> Any:
        return edge.FieldCondition(field, edge.MatchAny(list(values)))  # type: ignore[arg-type]

    def truth(self, _field: str, _value: bool, /) -> None:
        return None

    def numbers(self, field: str, bounds: dict[str, Bound]) -> Any:
        return edge.FieldCondition(field, range=edge.RangeFloat(**bounds))  # type: ignore[arg-type]

    def times(self, field: str, bounds: dict[str, Bound]) -> Any:
        said = {name: time.isoformat() for name, time in bounds.items() if isinstance(time, dt.datetime)}
        return edge.FieldCondition(field, range=edge.RangeDateTime(**said))

    def prefix(self, field: str, prefix: str) -> tuple[Any, bool]:
        return edge.FieldCondition(field, edge.MatchPrefix(prefix)), True

    def all_of(self, must: Sequence[Any], must_not: Sequence[Any], should: Sequence[Any]) -> Any:
        return edge.Filter(must=list(must), must_not=list(must_not), should=list(should) or None)


def edge_filter(where: Filter | None) -> Native:
    """Our filter as Edge's."""
    return compile_filter(where, EdgeDialect())
