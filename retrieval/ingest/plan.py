"""What has to be done for each image: compares the listing with what the collection says, opening nothing."""

import contextlib
import itertools
import time
from array import array
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np

from retrieval.ingest.address import make_image_url
from retrieval.ingest.ahead import prefetch
from retrieval.ingest.ledger import Ledger
from retrieval.ingest.options import IngestOptions
from retrieval.ingest.payload import collect_user_fields, inherit, select_user_fields
from retrieval.ingest.stale import clear_stale, is_stale
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
Points = Mapping[str, Point]
"""By id."""


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

    like: another collection, which has the last word on what the user said of the images that it holds; codes of the
    same model are taken from there, where an image is as it was · left: collections that are asked, in their order,
    what the user said of images that no other holds · before: of the images on their way, their payloads, or what the
    user said of those that are new, by point id.
    """

    def __init__(
        self,
        store: Store,
        collection: str | None,
        options: IngestOptions,
        ledger: Ledger,
        summary: Summary,
        like: str | None = None,
        same_model: bool = False,
        left: Sequence[str] = (),
    ) -> None:
        self._store, self._collection = store, collection
        self.like, self.same_model, self.left = like, same_model, left
        self._options, self._ledger, self._summary = options, ledger, summary
        self._seen: dict[str, array[int]] = {}
        self.before: dict[str, Payload] = {}

    def pages(self, listings: Sequence[Iterable[Entry]]) -> Generator[Page]:
        """What is left to do of each page of the listings: an Entry is to be opened."""
        pages = prefetch(cut_pages(itertools.chain.from_iterable(listings)), 2)
        with contextlib.closing(pages), contextlib.closing(prefetch(map(self._asked, pages), 1)) as asked:
            for each in asked:
                yield self._page(*each)
        self._summary.listed = True

    def known(self, refused: Refused) -> Refused:
        """The same, marked where it is no news: it could not be read before either."""
        again = not refused.lasting and self._ledger.passing(refused.entry)
        return replace(refused, again=True) if again else refused

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
        gone = np.isin(np.array([shorten_id(point) for point in points], np.uint64), seen, invert=True)
        return list(itertools.compress(points, gone))

    def _asked(self, entries: Sequence[Entry]) -> tuple[Sequence[Entry], list[str], Points, Points]:
        """A page, its images' ids, and those points of theirs that the collection holds, and that others hold."""
        ids = [point_id(entry.source, entry.key) for entry in entries]
        known = self._store.retrieve(self._collection, ids) if self._collection else {}
        new = [id_ for id_ in ids if id_ not in known]
        there: dict[str, Point] = {}
        if self.like:
            there = self._store.retrieve(self.like, new, codes=self.same_model) if new else {}
            there |= self._store.retrieve(self.like, list(known)) if known else {}
        for other in self.left:
            if missing := [id_ for id_ in (ids if self.like else new) if id_ not in there]:
                there |= self._store.retrieve(other, missing)
        return entries, ids, known, there

    def _page(self, entries: Sequence[Entry], ids: Sequence[str], known: Points, there: Points) -> Page:
        todo: Page = []
        for entry, id_ in zip(entries, ids, strict=True):
            if self._options.prune:
                self._seen.setdefault(entry.source, array("Q")).append(shorten_id(id_))
            if (item := self._decide(entry, id_, known.get(id_), there.get(id_))) is not None:
                todo.append(item)
        self._summary.found += len(entries)
        return todo

    def _decide(
        self, entry: Entry, id_: str, here: Point | None, there: Point | None
    ) -> Entry | Touched | Moved | Refused | None:
        """None: nothing is left to do."""
        self._summary.described += (entry.source, entry.key) in self._options.metadata
        old, said = here.payload if here else None, select_user_fields(there.payload) if there else {}
        refused = self._ledger.reason(entry)

        def is_good(stored: Payload) -> bool:
            return is_same_file(entry, stored) and not (refused and is_stale(stored))

        if old is None and there and there.code is not None and is_good(there.payload):
            payload = self._said_now(entry, id_, there.payload)
            return check_payload(entry, payload) or Moved(Point(id_, there.code, payload))
        if old is not None and is_good(old) and not self._options.force:
            base = inherit(old, said, make_image_url(self._options.public_url, id_)) if self.like else old
            payload = self._said_now(entry, id_, base)
            if payload != old:
                return check_payload(entry, payload, held=True) or Touched(id_, payload)
            self._summary.unchanged += 1
            return None
        if old is not None:
            self.before[id_] = inherit(old, said, {}) if self.like else old
        elif said:
            self.before[id_] = said
        self._ledger.lists(entry)
        if refused and not self._options.retry_failed:
            return Refused(entry, refused, lasting=True, again=True, held=old is not None)
        if old is None:
            self._summary.new += 1
        else:
            self._summary.changed += 1
        return entry

    def _said_now(self, entry: Entry, id_: str, old: Payload) -> Payload:
        return {
            **clear_stale(old),
            **collect_user_fields(entry, self._options.metadata),
            **make_image_url(self._options.public_url, id_),
        }


def cut_pages(entries: Iterable[Entry], seconds: float = PAGE_SECONDS) -> Iterator[list[Entry]]:
    """Into pages of PAGE entries, fewer where that many take longer than so many seconds to list."""
    page: list[Entry] = []
    end = time.monotonic() + seconds
    for entry in entries:
        page.append(entry)
        if len(page) >= PAGE or time.monotonic() > end:
            yield page
            page, end = [], time.monotonic() + seconds
    if page:
        yield page


def check_payload(entry: Entry, payload: Payload, *, held: bool = False) -> Refused | None:
    """The image refused, when its payload is too large; what is stored of it stays."""
    return Refused(entry, why, held=held) if (why := too_large(payload)) else None


def is_same_file(entry: Entry, old: Payload) -> bool:
    """Same size and time; where a source knows no time, only the content can tell."""
    return entry.mtime_ns != 0 and (old["bytes"], old["mtime_ns"]) == (entry.bytes, entry.mtime_ns)


def shorten_id(point: str) -> int:
    """The first 8 bytes of a point's id."""
    return UUID(point).int >> 64
