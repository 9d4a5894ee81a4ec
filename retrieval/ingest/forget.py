"""A source that was retired: its points go, and then its record, so that no job asks for it any more."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from retrieval.errors import SourceError, UsageError
from retrieval.filters import Filter, Match
from retrieval.ingest.ledger import Ledger
from retrieval.nearness import learn
from retrieval.store.base import Held, Store, resolve
from retrieval.store.family import unused

NAMED = 5
"""Images of the source that are shown by name."""
DELETE = 1000
"""Points removed by one request, after a look at the lock."""


@dataclass(slots=True)
class Forgotten:
    """What goes or went of a source. root: where it was seen last, None where only points tell of it."""

    name: str
    alias: str
    collection: str
    root: str | None
    points: int
    examples: list[str] = field(default_factory=list)
    done: bool = False

    def to_json(self) -> dict[str, Any]:
        return {each: getattr(self, each) for each in self.__slots__}


def look(store: Store, alias: str, name: str) -> Forgotten:
    """What would go; nothing is changed. Raises UsageError for a source that the collection does not know."""
    collection = resolve(store, alias)
    meta, where = store.metadata(collection), of(name)
    points = store.count(collection, where)
    if name not in meta.sources and not points:
        others = (each for each, count in store.facet(collection, "source", 100).items() if count)
        names = ", ".join(sorted({*meta.sources, *others})) or "none"
        raise UsageError(f"{name}: no source of {alias} ({collection}) is called so; its sources: {names}")
    page = next(store.scroll(collection, where, page=NAMED), [])
    return Forgotten(
        name, alias, collection, meta.sources.get(name), points, [str(point.payload["path"]) for point in page]
    )


def forget(
    store: Store, alias: str, name: str, ledgers: Path, report: Callable[[int, int], None] = lambda done, total: None
) -> Forgotten:
    """Remove the source's refused images and its points, and last of all its record: killed, it can be run again.

    What a killed re-index has filled loses it too, for the next goes on with that. report: points removed, and all.

    Raises UsageError as `look`, Locked, NoCollection.
    """
    with store.lock(alias) as held:
        found = look(store, alias, name)
        Ledger(ledgers, store.location, alias).forget(name)
        for collection, meta in unused(store, alias).items():
            if meta.state == "filling":
                remove(store, held, collection, name, lambda done: None)
        remove(store, held, found.collection, name, lambda done: report(done, found.points))
        learn(store, found.collection)
    found.done = True
    return found


def remove(store: Store, held: Held, collection: str, name: str, report: Callable[[int], None]) -> None:
    """The points, then the record."""
    done = 0
    for page in store.scroll(collection, of(name), page=DELETE):
        held.check()
        store.delete(collection, [point.id for point in page])
        done += len(page)
        report(done)
    held.check()
    meta = store.metadata(collection)
    store.set_metadata(
        collection,
        replace(
            meta,
            sources={each: spec for each, spec in meta.sources.items() if each != name},
            roots={each: root for each, root in meta.roots.items() if each != name},
            labelled=tuple(each for each in meta.labelled if each != name),
        ),
    )


def of(name: str) -> Filter:
    """True for the source's points."""
    return Filter(must=(Match("source", (name,)),))


@contextlib.contextmanager
def retired(name: str, alias: str | None) -> Iterator[None]:
    """A SourceError of the block says what to do where the source is gone for good."""
    try:
        yield
    except SourceError as error:
        following = f" --alias {alias}" if alias not in (None, "images") else ""
        raise SourceError(f"{error}; if it is gone for good: retrieval forget {name}{following}") from error
