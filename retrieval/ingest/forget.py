"""Forget a retired source: remove its points, then its record, so that no job expects it any more."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from retrieval.errors import SourceError, UsageError, with_alias
from retrieval.ingest.ledger import Ledger
from retrieval.ingest.payload import match_source
from retrieval.search.calibration import fit
from retrieval.store.base import Held, Store, resolve
from retrieval.store.naming import find_unused
from retrieval.util.reporting import ReportCount, ignore

EXAMPLES = 5
"""Images of the source that are named in the preview."""
DELETE = 1000
"""Points removed by one request; the lock is checked before each."""


@dataclass(slots=True)
class ForgetSummary:
    """What will be removed of a source, or was.

    root: where it was last seen; None if the collection has points of it but no record
    points: number of its points
    examples: keys of some of its images
    done: whether it was removed
    """

    name: str
    alias: str
    collection: str
    root: str | None
    points: int
    examples: list[str] = field(default_factory=list)
    done: bool = False

    def to_json(self) -> dict[str, Any]:
        return {each: getattr(self, each) for each in self.__slots__}


def preview_forget(store: Store, alias: str, name: str) -> ForgetSummary:
    """What would be removed; changes nothing. Raises UsageError for a source that the collection does not have."""
    collection = resolve(store, alias)
    meta, where = store.metadata(collection), match_source(name)
    points = store.count(collection, where)
    if name not in meta.sources and not points:
        others = (each for each, count in store.facet(collection, "source", 100).items() if count)
        names = ", ".join(sorted({*meta.sources, *others})) or "none"
        raise UsageError(f"{alias} ({collection}) has no source named {name}", hint=f"its sources: {names}")
    page = next(store.scroll(collection, where, page=EXAMPLES), [])
    return ForgetSummary(
        name, alias, collection, meta.sources.get(name), points, [str(point.payload["path"]) for point in page]
    )


def forget(store: Store, alias: str, name: str, ledgers: Path, report: ReportCount = ignore) -> ForgetSummary:
    """Remove the source's rows in the ledger, then its points, then its record, so that a killed run can be repeated.

    It is also removed from the collection that a killed re-index left, because the next re-index resumes with that.

    store: the engine
    alias: of the collection
    name: of the source
    ledgers: folder for the records of refused images
    report: called with the number of points removed so far, and their total

    Raises UsageError as `preview_forget`, Locked, NoCollection.
    """
    with store.lock(alias) as held:
        found = preview_forget(store, alias, name)
        Ledger(ledgers, store.location, alias).forget(name)
        for collection, meta in find_unused(store, alias).items():
            if meta.state == "filling":
                remove_source(store, held, collection, name, lambda done: None)
        remove_source(store, held, found.collection, name, lambda done: report(done, found.points))
        fit(store, found.collection)
    found.done = True
    return found


def remove_source(store: Store, held: Held, collection: str, name: str, report: Callable[[int], None]) -> None:
    """Remove a source's points from one collection, then its record."""
    done = 0
    for page in store.scroll(collection, match_source(name), page=DELETE):
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


@contextlib.contextmanager
def hint_at_forget(name: str, alias: str | None) -> Iterator[None]:
    """Add to the hint of a SourceError what to do if the source is gone for good."""
    try:
        yield
    except SourceError as error:
        way_out = f"if it is gone for good: {with_alias(f'retrieval forget {name}', alias)}"
        raise SourceError(
            error.message, hint=f"{error.hint}; {way_out}" if error.hint else way_out, option=error.option
        ) from error
