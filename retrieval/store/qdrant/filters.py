"""Filters as a Qdrant server's client writes them."""

from collections.abc import Sequence
from typing import Any

from qdrant_client import models

from retrieval.schema.filters import Bound, Filter
from retrieval.store.filter_compiler import Native, compile_filter


class ServerDialect:
    """`Dialect` of a server, which (in 1.16) can match texts that contain another, but not those that start with it."""

    def ids(self, ids: Sequence[str]) -> Any:
        return models.HasIdCondition(has_id=list(ids))

    def any_of(self, field: str, values: Sequence[str] | Sequence[int]) -> Any:
        return models.FieldCondition(key=field, match=models.MatchAny(any=list(values)))  # type: ignore[arg-type]

    def truth(self, field: str, value: bool, /) -> Any:
        return models.FieldCondition(key=field, match=models.MatchValue(value=value))

    def numbers(self, field: str, bounds: dict[str, Bound]) -> Any:
        return models.FieldCondition(key=field, range=models.Range(**bounds))  # type: ignore[arg-type]

    def times(self, field: str, bounds: dict[str, Bound]) -> Any:
        return models.FieldCondition(key=field, range=models.DatetimeRange(**bounds))  # type: ignore[arg-type]

    def prefix(self, field: str, prefix: str) -> tuple[Any, bool]:
        return models.FieldCondition(key=field, match=models.MatchText(text=prefix)), False

    def all_of(self, must: Sequence[Any], must_not: Sequence[Any], should: Sequence[Any]) -> Any:
        return models.Filter(must=list(must), must_not=list(must_not), should=list(should) or None)


def server_filter(where: Filter | None) -> Native:
    """Our filter as a server's."""
    return compile_filter(where, ServerDialect())
