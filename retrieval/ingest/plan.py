"""What has to be done for each image: compares the listing with what the collection says, opening nothing."""

import contextlib
import itertools
import time
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np

from retrieval.ingest.address import address
from retrieval.ingest.ahead import ahead
from retrieval.ingest.ledger import Ledger
from retrieval.ingest.options import Options
from retrieval.ingest.payload import given, said_of
from retrieval.ingest.stale import is_stale, unmarked
from retrieval.ingest.summary import Summary
from retrieval.reading import Refused
from retrieval.records import Payload, Point, point_id
from retrieval.sources import Entry
from retrieval.store.base import Store
from retrieval.store.writes import too_large

PAGE = 1000
"""Images compared at once: one request to the engine."""
PAGE_SECONDS = 0.5
"""A slow listing is cut sooner, so that the first images are encoded while the others are listed."""

Page = list["Entry | Touched | Moved | Refused"]


@dataclass(frozen=True, slots=True)
class Touched:
    """A point whose payload changes and whose image need not be opened."""

    id: str
    payload: Payload


@dataclass(frozen=True, slots=True)
class Moved:
    """A point whose code is known from another collection of the same model."""

    point: Point


class Planner:
    """Goes over listings once, page by page, and remembers only what is in flight.

    before: payloads of the images on their way that the collection holds in another state, by point id · inherited:
    of those that are new, what the user said of them in the collection `like`. Codes of the same model are taken from
    there, where an image is as it was.
    """

    def __init__(
        self,
        store: Store,
        collection: str | None,
        options: Options,
        ledger: Ledger,
        summary: Summary,
        like: str | None = None,
        same_model: bool = False,
    ) -> None:
        self._store, self._collection = store, collection
        self.like, self.same_model = like, same_model
        self._options, self._ledger, self._summary = options, ledger, summary
        self._seen: dict[str, array[int]] = {}
        self.before: dict[str, Payload] = {}
        self.inherited: dict[str, Payload] = {}
        self._there: dict[str, Point] = {}

    def pages(self, listings: Sequence[Iterable[Entry]]) -> Iterator[Page]:
        """What is left to do of each page of the listings: an Entry is to be opened."""
        pages = ahead(cut(itertools.chain.from_iterable(listings)), 2)
        with contextlib.closing(pages), contextlib.closing(ahead(map(self._asked, pages), 1)) as asked:
            for entries, ids, known in asked:
                yield self._page(entries, ids, known)
        self._summary.listed = True

    def page(self, entries: Sequence[Entry]) -> Page:
        """What is left to do of a page of a listing, found out in this thread."""
        return self._page(*self._asked(entries))

    def seen(self, source: str) -> str:
        """Marks of the source's listed images, in hexadecimal: for the one who prunes."""
        return self._seen.get(source, array("Q")).tobytes().hex()

    def saw(self, source: str, seen: str) -> None:
        """The other end of `seen`."""
        self._seen.setdefault(source, array("Q")).frombytes(bytes.fromhex(seen))

    def unseen(self, source: str, points: Sequence[str]) -> list[str]:
        """Those of the points that no listing of the source named.

        Of 600,000, one in a hundred million runs could take one for another, and would keep it.
        """
        seen = np.frombuffer(self._seen.get(source, array("Q")), np.uint64)
        gone = np.isin(np.array([mark(point) for point in points], np.uint64), seen, invert=True)
        return list(itertools.compress(points, gone))

    def _asked(self, entries: Sequence[Entry]) -> tuple[Sequence[Entry], list[str], dict[str, Point]]:
        ids = [point_id(entry.source, entry.key) for entry in entries]
        known = self._store.retrieve(self._collection, ids) if self._collection else {}
        if self.like and (new := [id_ for id_ in ids if id_ not in known]):
            there = self._store.retrieve(self.like, new, codes=self.same_model)
            self._there |= there if self.same_model else {}
            said = {id_: said_of(point.payload) for id_, point in there.items()}
            self.inherited |= {id_: fields for id_, fields in said.items() if fields}
        return entries, ids, known

    def _page(self, entries: Sequence[Entry], ids: Sequence[str], known: Mapping[str, Point]) -> Page:
        todo: Page = []
        for entry, id_ in zip(entries, ids, strict=True):
            if self._options.prune:
                self._seen.setdefault(entry.source, array("Q")).append(mark(id_))
            old = known[id_].payload if id_ in known else None
            if (item := self._decide(entry, id_, old)) is not None:
                todo.append(item)
        self._summary.found += len(entries)
        return todo

    def _decide(self, entry: Entry, id_: str, old: Payload | None) -> Entry | Touched | Moved | Refused | None:
        """None: nothing is left to do."""
        self._summary.described += entry.key in self._options.metadata
        there = self._there.pop(id_, None)
        if there and same_file(entry, there.payload):
            self.inherited.pop(id_, None)
            payload = self._said_now(entry, id_, there.payload)
            return refused_for(entry, payload) or Moved(Point(id_, there.code, payload))
        refused = self._ledger.reason(entry)
        if old is not None and same_file(entry, old) and not self._options.force and not (refused and is_stale(old)):
            payload = self._said_now(entry, id_, old)
            if payload != old:
                return refused_for(entry, payload, held=True) or Touched(id_, payload)
            self._summary.unchanged += 1
            return None
        if old is not None:
            self.before[id_] = old
        self._ledger.lists(entry)
        if refused and not self._options.retry_failed:
            return Refused(entry, refused, lasting=True, again=True, held=old is not None)
        if old is None:
            self._summary.new += 1
        else:
            self._summary.changed += 1
        return entry

    def _said_now(self, entry: Entry, id_: str, old: Payload) -> Payload:
        return {**unmarked(old), **given(entry, self._options.metadata), **address(self._options.public_url, id_)}


def cut(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Into pages of PAGE entries, fewer where that many take longer than PAGE_SECONDS to list."""
    page: list[Entry] = []
    end = time.monotonic() + PAGE_SECONDS
    for entry in entries:
        page.append(entry)
        if len(page) >= PAGE or time.monotonic() > end:
            yield page
            page, end = [], time.monotonic() + PAGE_SECONDS
    if page:
        yield page


def refused_for(entry: Entry, payload: Payload, *, held: bool = False) -> Refused | None:
    """The image refused, when its payload is too large; what is stored of it stays."""
    return Refused(entry, why, held=held) if (why := too_large(payload)) else None


def same_file(entry: Entry, old: Payload) -> bool:
    """Same size and time; where a source knows no time, only the content can tell."""
    return entry.mtime_ns != 0 and (old["bytes"], old["mtime_ns"]) == (entry.bytes, entry.mtime_ns)


def mark(point: str) -> int:
    """The first 8 bytes of a point's id."""
    return UUID(point).int >> 64
