"""Compare the listing with the collection, and decide what to do for each image. No image is opened here."""

import contextlib
import itertools
import time
from array import array
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from retrieval.ingest.context import IngestRun
from retrieval.ingest.image_url import make_image_url
from retrieval.ingest.payload import collect_user_fields, replace_user_fields, select_user_fields
from retrieval.ingest.stale_points import clear_stale, is_stale
from retrieval.schema.records import STALE, Payload, Point, point_id
from retrieval.sources import Entry
from retrieval.sources.read import Refused
from retrieval.store.validation import explain_too_large
from retrieval.util.prefetch import prefetch

PAGE = 1000
"""Images in the first page of a listing, which are compared at once; each page is twice as long as the one before."""
LONGEST_PAGE = 16 * PAGE
"""Short pages start the encoder early; long ones spare the engine requests, and are compared in half the time."""
PAGE_SECONDS = 0.5
"""Seconds after which a page of a slow listing is passed on, so that encoding starts while listing goes on."""

Page = list["ToOpen | PayloadUpdate | Copied | Refused"]
Points = Mapping[str, Point]
"""By id."""


class KnownPage(NamedTuple):
    """A page of a listing, and what is known of its images.

    listed: number of its images
    open: the images, with their ids, that are not known to be unchanged
    here: the points of these in the collection
    there: their points in other collections
    """

    listed: int
    open: Sequence[tuple[Entry, str]]
    here: Points
    there: Points


@dataclass(frozen=True, slots=True, kw_only=True)
class ToOpen(Entry):
    """An image to be opened, with what is known of its point, which is needed again after encoding.

    id: of its point
    before: the payload that the collection holds; for a new image, the user's fields from another collection
    held: whether the collection holds the image
    """

    id: str
    before: Payload
    held: bool

    @classmethod
    def of(cls, entry: Entry, id_: str, before: Payload, *, held: bool) -> "ToOpen":
        """Add to an entry what is known of its point."""
        return cls(
            entry.source,
            entry.key,
            entry.bytes,
            entry.mtime_ns,
            entry.label,
            entry.fetch,
            entry.in_turn,
            entry.fields,
            id=id_,
            before=before,
            held=held,
        )

    def as_listed(self) -> Entry:
        """The entry as its source listed it, without its fields."""
        return Entry(self.source, self.key, self.bytes, self.mtime_ns, self.label, self.fetch, self.in_turn)


@dataclass(frozen=True, slots=True)
class PayloadUpdate:
    """A point whose payload changes and whose image need not be opened."""

    id: str
    payload: Payload


@dataclass(frozen=True, slots=True)
class Copied:
    """A point whose embedding is copied from another collection of the same model."""

    point: Point


class Planner:
    """Compares listings with the collection, page by page. Of earlier pages it keeps only the ids of listed images."""

    def __init__(self, run: IngestRun) -> None:
        self.run = run
        self._seen: dict[str, array[int]] = {}

    def plan(self, listings: Sequence[Iterable[Entry]]) -> Generator[Page]:
        """What to do for each page of the listings; images that need nothing are left out."""
        pages = prefetch(cut_pages(itertools.chain.from_iterable(listings), most=LONGEST_PAGE), 2)
        with contextlib.closing(pages), contextlib.closing(prefetch(map(self._look_up, pages), 1)) as known:
            for each in known:
                yield self._plan(each)
        self.run.summary.listed = True

    def plan_page(self, entries: Sequence[Entry]) -> Page:
        """What to do for one page of a listing; runs in the calling thread."""
        return self._plan(self._look_up(entries))

    def note_listed(self, entries: Sequence[Entry]) -> list[str]:
        """The ids of the images' points; if the run prunes, they are kept for `find_unseen`."""
        ids = [point_id(entry.source, entry.key) for entry in entries]
        if self.run.options.prune:
            for entry, id_ in zip(entries, ids, strict=True):
                self._seen.setdefault(entry.source, array("Q")).append(shorten_id(id_))
        return ids

    def find_unseen(self, source: str, points: Sequence[str]) -> list[str]:
        """Those of the points whose images were not listed.

        Ids are compared by their first 8 bytes. With 600,000 points, these are the same for two images in one run of a
        hundred million, which then keeps a point too many.
        """
        seen = np.frombuffer(self._seen.get(source, array("Q")), np.uint64)
        gone = np.isin(np.array([shorten_id(point) for point in points], np.uint64), seen, invert=True)
        return list(itertools.compress(points, gone))

    def _look_up(self, entries: Sequence[Entry]) -> KnownPage:
        """The page, with the points of the images that may have to be opened or updated."""
        store, others = self.run.store, self.run.others
        ids = self.note_listed(entries)
        open_, held = self._drop_unchanged(entries, ids)
        known = store.retrieve(self.run.collection, held) if held else {}
        wanted = [id_ for _, id_ in open_]
        new = [id_ for id_ in wanted if id_ not in known]
        there: dict[str, Point] = {}
        if others.like:
            there = store.retrieve(others.like, new, codes=others.same_model) if new else {}
            there |= store.retrieve(others.like, list(known)) if known else {}
        for other in others.left:
            if missing := [id_ for id_ in (wanted if others.like else new) if id_ not in there]:
                there |= store.retrieve(other, missing)
        return KnownPage(len(entries), open_, known, there)

    def _drop_unchanged(self, entries: Sequence[Entry], ids: list[str]) -> tuple[list[tuple[Entry, str]], list[str]]:
        """The images whose points need a closer look, with their ids; and the ids of those that may have a point.

        An image needs none if the few fields that this run would set are stored as they are.
        """
        options, url = self.run.options, self.run.options.public_url
        pairs = list(zip(entries, ids, strict=True))
        if not self.run.collection or options.force or options.metadata or self.run.others.like:
            return pairs, ids if self.run.collection else []
        label = {"label"} if any(entry.label is not None for entry in entries) else set()
        fields = ("bytes", "mtime_ns", STALE, *label, *make_image_url(url, ""))
        stored = self.run.store.retrieve_fields(self.run.collection, ids, fields)

        def differs(entry: Entry, id_: str) -> bool:
            wanted: Payload = {"bytes": entry.bytes, "mtime_ns": entry.mtime_ns}
            if label and entry.label is not None:
                wanted["label"] = entry.label
            return (
                bool(entry.fields)
                or not entry.mtime_ns
                or stored.get(id_) != (wanted | make_image_url(url, id_) if url else wanted)
            )

        rest = [pair for pair in pairs if differs(*pair)]
        return rest, [id_ for _, id_ in rest if id_ in stored]

    def _plan(self, page: KnownPage) -> Page:
        summary = self.run.summary
        todo: Page = []
        for entry, id_ in page.open:
            if (item := self._decide(entry, id_, page.here.get(id_), page.there.get(id_))) is not None:
                todo.append(item)
        unchanged = page.listed - len(page.open)
        summary.found += page.listed
        summary.unchanged += unchanged
        return todo

    def _decide(
        self, entry: Entry, id_: str, here: Point | None, there: Point | None
    ) -> ToOpen | PayloadUpdate | Copied | Refused | None:
        """What to do with one image; None for nothing."""
        options, ledger, summary, like = self.run.options, self.run.ledger, self.run.summary, self.run.others.like
        summary.described += (entry.source, entry.key) in options.metadata
        old, user_fields = here.payload if here else None, select_user_fields(there.payload) if there else {}
        refused = ledger.find_reason(entry)

        def is_good(stored: Payload) -> bool:
            return is_same_file(entry, stored) and not (refused and is_stale(stored))

        if old is None and there and there.code is not None and is_good(there.payload):
            payload = self._update(entry, id_, there.payload)
            return check_payload(entry, payload) or Copied(Point(id_, there.code, payload))
        if old is not None and is_good(old) and not options.force:
            base = replace_user_fields(old, user_fields, make_image_url(options.public_url, id_)) if like else old
            payload = self._update(entry, id_, base)
            if payload != old:
                return check_payload(entry, payload, held=True) or PayloadUpdate(id_, payload)
            summary.unchanged += 1
            return None
        if old is None:
            image = ToOpen.of(entry, id_, user_fields, held=False)
        else:
            image = ToOpen.of(entry, id_, replace_user_fields(old, user_fields, {}) if like else old, held=True)
        ledger.mark_listed(entry)
        if refused and not options.retry_failed:
            return Refused(image, refused, lasting=True, again=True, held=image.held)
        if image.held:
            summary.changed += 1
        else:
            summary.new += 1
        return image

    def _update(self, entry: Entry, id_: str, old: Payload) -> Payload:
        """The payload with the user's fields of this run, and no longer marked stale."""
        options = self.run.options
        return {
            **clear_stale(old),
            **collect_user_fields(entry, options.metadata),
            **make_image_url(options.public_url, id_),
        }


def drop_payload(refused: Refused) -> Refused:
    """Drop the stored payload from a refused image, because summaries keep all refused images until the run ends."""
    return replace(refused, entry=refused.entry.as_listed()) if isinstance(refused.entry, ToOpen) else refused


def cut_pages(entries: Iterable[Entry], seconds: float = PAGE_SECONDS, most: int = PAGE) -> Iterator[list[Entry]]:
    """Cut entries into pages: the first of PAGE, each twice as long as the one before, up to `most`.

    A page that takes longer than `seconds` to list is cut short.
    """
    page: list[Entry] = []
    size, end = PAGE, time.monotonic() + seconds
    for entry in entries:
        page.append(entry)
        if len(page) >= size or time.monotonic() > end:
            yield page
            page, size, end = [], min(2 * size, most), time.monotonic() + seconds
    if page:
        yield page


def check_payload(entry: Entry, payload: Payload, *, held: bool = False) -> Refused | None:
    """The image as refused if its payload is too large, otherwise None. Its stored point is kept."""
    return Refused(entry, why, held=held) if (why := explain_too_large(payload)) else None


def is_same_file(entry: Entry, old: Payload) -> bool:
    """Whether size and modification time are unchanged; False where the source has no times, so that it is read."""
    return entry.mtime_ns != 0 and (old["bytes"], old["mtime_ns"]) == (entry.bytes, entry.mtime_ns)


def shorten_id(point: str) -> int:
    """The first 8 bytes of a point's id."""
    return int(point[:18].replace("-", ""), 16)
