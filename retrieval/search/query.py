"""A query: an image file, or an image that is stored in the collection."""

from collections.abc import Callable
from dataclasses import dataclass

from retrieval.errors import UsageError
from retrieval.schema.filters import ID, Filter, Match
from retrieval.schema.records import Point, is_id
from retrieval.sources import Entry
from retrieval.store.base import Store


@dataclass(frozen=True, slots=True)
class Query:
    """An image to search with; `name` is how it is printed."""

    name: str
    entry: Entry

    @classmethod
    def of(cls, name: str, read: Callable[[], bytes], label: str | None = None) -> "Query":
        """A query for an image that belongs to no source; `read` returns the file's bytes or raises BadImage."""
        return cls(name, Entry("query", name, 0, 0, label, read))

    @property
    def read(self) -> Callable[[], bytes]:
        return self.entry.fetch

    @property
    def label(self) -> str | None:
        return self.entry.label


@dataclass(frozen=True, slots=True)
class Stored:
    """An image of the collection, by its point's id or as `source/path`; its embedding is looked up, not computed."""

    name: str

    @property
    def condition(self) -> Match | Filter:
        """A filter that only this point meets."""
        if is_id(self.name):
            return Match(ID, (self.name,))
        source, _, path = self.name.partition("/")
        return Filter(must=(Match("source", (source,)), Match("path", (path,))))


def find_stored(store: Store, collection: str, wanted: list[Stored]) -> dict[Stored, Point]:
    """The points of those that the collection holds, with their embeddings."""
    ids = {query.name for query in wanted if is_id(query.name)}
    by_id = store.retrieve(collection, sorted(ids), codes=True) if ids else {}
    found = {query: by_id[query.name] for query in wanted if query.name in by_id}
    named = {query.name: query for query in wanted if not is_id(query.name)}
    if named:
        where = Filter(should=tuple(query.condition for query in named.values()))
        for page in store.scroll(collection, where, codes=True):
            found |= {named[point.name]: point for point in page}
    return found


def stored_point(store: Store, collection: str, name: str) -> Point:
    """The point of that name, with its embedding; raises UsageError when the collection does not hold it."""
    query = Stored(name)
    try:
        return find_stored(store, collection, [query])[query]
    except KeyError as error:
        raise UsageError(f"{name}: {MISSING.format(collection)}") from error


MISSING = "no such image in {}; name it by its id or as SOURCE/PATH, as search --json prints them"
