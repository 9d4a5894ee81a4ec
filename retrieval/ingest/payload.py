"""The fields of a point's payload: what is measured of the image, and what the user said of it."""

from collections.abc import Mapping
from typing import Any

from retrieval.filters import Filter, Match
from retrieval.reading import Loaded
from retrieval.records import FIELDS, Payload, utc_now
from retrieval.sources import Entry

MEASURED = FIELDS.keys() - {"label"}
"""Fields of a payload that follow from the image and its place."""


def describe(item: Loaded, before: Payload, given: Payload, shown: Payload) -> Payload:
    """What a point says of its image; flat, for the dashboard shows it as it is. What the user once said stays.

    shown: where the picture can be seen.
    """
    entry, picture = item.entry, item.picture
    own = {
        "source": entry.source,
        "path": entry.key,
        "sha256": item.sha256,
        "bytes": entry.bytes,
        "mtime_ns": entry.mtime_ns,
        "width": picture.width,
        "height": picture.height,
        "ingested_at": utc_now(),
    }
    return arrange(own, {**select_user_fields(before), **given}, shown)


def inherit(payload: Payload, said: Payload, shown: Payload) -> Payload:
    """What was measured of an image, with what the user said of it elsewhere in place of what is said of it here."""
    own = {key: value for key, value in payload.items() if key in MEASURED and key != "image_url"}
    return arrange(own, said, shown)


def arrange(own: Payload, said: Payload, shown: Payload) -> Payload:
    """A whole payload, in the order in which the dashboard is to show it."""
    label = {"label": said["label"]} if "label" in said else {}
    return {**shown, **label, **own, **said}


def select_user_fields(payload: Payload) -> Payload:
    """The fields that the user gave: the label, and what came from a metadata file."""
    return {key: value for key, value in payload.items() if key not in MEASURED}


def collect_user_fields(entry: Entry, metadata: Mapping[tuple[str, str], Mapping[str, Any]]) -> Payload:
    """What the user says of an image. A run without labels takes none away that an earlier one gave."""
    label = {} if entry.label is None else {"label": entry.label}
    return {**label, **metadata.get((entry.source, entry.key), {})}


def match_source(name: str) -> Filter:
    """True for the points of that source."""
    return Filter(must=(Match("source", (name,)),))
