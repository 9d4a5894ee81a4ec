"""Pictures in, hits out: queries are encoded and sent to the engine in batches."""

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from retrieval.encode import Encoder
from retrieval.errors import BadImage, UsageError
from retrieval.images.decode import Picture, decode
from retrieval.records import Filter, Hit, Match
from retrieval.store.base import Store

BATCH = 512
"""Queries encoded and sent together."""
MAX_K = 10_000


@dataclass(frozen=True, slots=True)
class Query:
    """A picture to search with; `read` gives the file's bytes or raises BadImage."""

    name: str
    read: Callable[[], bytes]
    label: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """A query's hits, nearest first; `refused` says why there are none when the query could not be read."""

    query: Query
    hits: list[Hit]
    refused: str | None = None

    def to_json(self) -> dict[str, Any]:
        if self.refused is not None:
            return {"query": self.query.name, "hits": [], "error": self.refused}
        return {"query": self.query.name, "hits": [hit.to_json() for hit in self.hits]}


def search(
    store: Store, encoder: Encoder, queries: Iterable[Query], collection: str, k: int = 5, *, include_self: bool = False
) -> Iterator[Result]:
    """The k nearest of each query in the encoder's collection, in the order of the queries.

    A picture with the query's own content (SHA-256) is left out unless `include_self`. Fewer than k hits when the
    collection holds fewer. Raises UsageError for a k out of range, NoCollection.
    """
    check_k(k)
    queries = iter(queries)
    while batch := list(itertools.islice(queries, BATCH)):
        yield from search_batch(store, encoder, batch, collection, k, include_self)


def check_k(k: int) -> None:
    """Raise UsageError for a number of hits that cannot be asked for."""
    if not 1 <= k <= MAX_K:
        raise UsageError(f"k = {k}: ask for between 1 and {MAX_K:,} hits")


def search_batch(
    store: Store, encoder: Encoder, queries: list[Query], collection: str, k: int, include_self: bool
) -> list[Result]:
    """One batch: all readable queries through one encoding and one request."""
    opened = [open_query(query, encoder) for query in queries]
    good = [item for item in opened if not isinstance(item, BadImage)]
    answers: Iterator[list[Hit]] = iter(())
    if good:
        codes = encoder.encode(np.stack([picture.pixels for _, picture in good]))
        others = [None if include_self else Filter(must_not=(Match("sha256", (sha,)),)) for sha, _ in good]
        answers = iter(store.query(collection, codes, k, others))
    return [
        Result(query, [], item.reason) if isinstance(item, BadImage) else Result(query, next(answers))
        for query, item in zip(queries, opened, strict=True)
    ]


def open_query(query: Query, encoder: Encoder) -> tuple[str, Picture] | BadImage:
    """A query's SHA-256 and pixels, or why it has none."""
    try:
        data = query.read()
        picture = decode(data, query.name, encoder.config.image_size, encoder.config.channels)
    except BadImage as error:
        return error
    return hashlib.sha256(data).hexdigest(), picture
