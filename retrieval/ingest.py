"""Bring a collection in line with its sources: new and changed images are encoded, all others left alone."""

import datetime
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from retrieval.encode import Encoder
from retrieval.errors import NoCollection, UsageError
from retrieval.reading import Loaded, Refused, read_pictures
from retrieval.records import CollectionMeta, Filter, Match, Payload, Point, point_id
from retrieval.sources import Entry, Source
from retrieval.store.base import Store, collection_name, require_model, resolve

WINDOW = 512
"""Images encoded and written together: a full batch of the encoder, and of the engines."""


@dataclass(slots=True)
class Summary:
    """What a run did; `refused` holds an entry and a reason for each image counted in `failed`."""

    alias: str
    collection: str
    found: int = 0
    encoded: int = 0
    unchanged: int = 0
    copied: int = 0
    deleted: int = 0
    seconds: float = 0.0
    refused: list[Refused] = field(default_factory=list)

    @property
    def failed(self) -> int:
        return len(self.refused)

    def to_json(self) -> dict[str, Any]:
        counts = ("found", "encoded", "unchanged", "copied", "deleted", "failed", "collection", "alias")
        return {
            **{name: getattr(self, name) for name in counts},
            "seconds": round(self.seconds, 2),
            "refused": [refused.to_json() for refused in self.refused],
        }


def ingest(
    store: Store,
    encoder: Encoder,
    sources: Sequence[Source],
    alias: str,
    report: Callable[[Summary], None] = lambda summary: None,
) -> Summary:
    """Ingest every image of the sources into the alias's collection, which is made when there is none.

    Raises ModelError when the collection was made by another model, UsageError for two sources of one name,
    SourceError for a source with no image.
    """
    names = [source.name for source in sources]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"two sources are called {twice.pop()!r}; ingest them one by one, each with its own --name")
    started = time.monotonic()
    listings = [begun(source.entries()) for source in sources]
    summary = Summary(alias, open_collection(store, encoder, alias))
    remember_sources(store, summary.collection, sources)
    for source, entries in zip(sources, listings, strict=True):
        known = {
            point.payload["path"]: point.payload
            for page in store.scroll(summary.collection, only(source.name))
            for point in page
        }
        new = changed(entries, known, summary)
        for window in windows(read_pictures(new, encoder.config.image_size, encoder.config.channels)):
            write(store, encoder, window, known, summary)
            summary.seconds = time.monotonic() - started
            report(summary)
    summary.seconds = time.monotonic() - started
    report(summary)
    return summary


def open_collection(store: Store, encoder: Encoder, alias: str) -> str:
    """The alias's collection, made and named when there is none; raises ModelError for another model's."""
    try:
        collection = resolve(store, alias)
    except NoCollection:
        now = datetime.datetime.now(datetime.UTC)
        collection = collection_name(alias, encoder.fingerprint, now)
        config = encoder.config
        created = now.isoformat(timespec="seconds")
        meta = CollectionMeta(encoder.fingerprint, config.dim, config.image_size, config.channels, created)
        store.create_collection(collection, meta)
        store.move_alias(alias, collection)
    require_model(store, collection, encoder.fingerprint)
    return collection


def begun(entries: Iterator[Entry]) -> Iterator[Entry]:
    """The same entries; an empty source raises its SourceError here, before anything is written."""
    first = list(itertools.islice(entries, 1))
    return itertools.chain(first, entries)


def remember_sources(store: Store, collection: str, sources: Sequence[Source]) -> None:
    """Note in the metadata where each source lies now, so that its pictures can be found again.

    A single file of a folder that is known already does not take the folder's place.
    """
    meta = store.metadata(collection)
    new = {source.name: source.spec for source in sources if source.whole or source.name not in meta.sources}
    specs = {**meta.sources, **new}
    if specs != dict(meta.sources):
        store.set_metadata(collection, replace(meta, sources=specs))


def only(source: str) -> Filter:
    """Points of one source."""
    return Filter(must=(Match("source", (source,)),))


def changed(entries: Iterable[Entry], known: dict[str, Payload], summary: Summary) -> Iterator[Entry]:
    """The entries that have to be opened: not those whose size, time and label are as they were."""
    for entry in entries:
        summary.found += 1
        old = known.get(entry.key)
        if old and same_file(entry, old) and same_label(entry, old):
            summary.unchanged += 1
        else:
            yield entry


def same_file(entry: Entry, old: Payload) -> bool:
    """Same size and time; where a source knows no time, only the content can tell."""
    return entry.mtime_ns != 0 and (old["bytes"], old["mtime_ns"]) == (entry.bytes, entry.mtime_ns)


def same_label(entry: Entry, old: Payload) -> bool:
    """A run without labels does not take away those that an earlier one gave."""
    return entry.label is None or entry.label == old.get("label")


def windows(items: Iterable[Loaded | Refused]) -> Iterator[list[Loaded | Refused]]:
    """Cut into lists of WINDOW."""
    items = iter(items)
    while window := list(itertools.islice(items, WINDOW)):
        yield window


def write(
    store: Store,
    encoder: Encoder,
    window: Sequence[Loaded | Refused],
    known: dict[str, Payload],
    summary: Summary,
) -> None:
    """Store one window: payload only where the content is as it was, else the code too, copied where it is known."""
    summary.refused += [item for item in window if isinstance(item, Refused)]
    loaded = [item for item in window if isinstance(item, Loaded)]
    touched = {
        point_id(item.entry.source, item.entry.key): payload(item, known[item.entry.key])
        for item in loaded
        if known.get(item.entry.key, {}).get("sha256") == item.sha256
    }
    fresh = [item for item in loaded if point_id(item.entry.source, item.entry.key) not in touched]
    copies = codes_by_content(store, summary.collection, {item.sha256 for item in fresh})
    to_encode = list({item.sha256: item for item in fresh if item.sha256 not in copies}.values())
    if to_encode:
        codes = encoder.encode(np.stack([item.picture.pixels for item in to_encode]))
        copies |= {item.sha256: code for item, code in zip(to_encode, codes, strict=True)}
    points = [Point(point_id(item.entry.source, item.entry.key), copies[item.sha256], payload(item)) for item in fresh]
    store.upsert(summary.collection, points)
    store.set_payload(summary.collection, touched)
    summary.encoded += len(to_encode)
    summary.copied += len(fresh) - len(to_encode)
    summary.unchanged += len(touched)


def codes_by_content(store: Store, collection: str, contents: set[str]) -> dict[str, Any]:
    """Codes that the collection has already, by their image's SHA-256."""
    if not contents:
        return {}
    where = Filter(must=(Match("sha256", tuple(sorted(contents))),))
    pages = store.scroll(collection, where, codes=True)
    return {point.payload["sha256"]: point.code for page in pages for point in page}


def payload(item: Loaded, old: Payload | None = None) -> Payload:
    """What a point says of its image; flat, for the dashboard shows it as it is."""
    entry, picture = item.entry, item.picture
    label = entry.label if entry.label is not None else (old or {}).get("label")
    return {
        **({} if label is None else {"label": label}),
        "source": entry.source,
        "path": entry.key,
        "sha256": item.sha256,
        "bytes": entry.bytes,
        "mtime_ns": entry.mtime_ns,
        "width": picture.width,
        "height": picture.height,
        "ingested_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
