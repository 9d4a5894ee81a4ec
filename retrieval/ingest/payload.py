"""The fields of a point's payload: those measured from the image, and the user's."""

from collections.abc import Mapping
from typing import Any

from retrieval.schema.filters import Filter, Match
from retrieval.schema.records import FIELDS, Payload, utc_now
from retrieval.sources import Entry
from retrieval.sources.read import Loaded

MEASURED = FIELDS.keys() - {"label"}
"""Fields of a payload that follow from the image and its place."""


def make_payload(item: Loaded, before: Payload, given: Payload, shown: Payload) -> Payload:
    """The payload of an image's point; flat, because the dashboard shows it as it is.

    item: the image as it was read
    before: an earlier payload, whose user's fields stay
    given: the user's fields in this run
    shown: the `image_url` field
    """
    entry, picture = item.entry, item.image
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


def replace_user_fields(payload: Payload, said: Payload, shown: Payload) -> Payload:
    """The measured fields of a payload, with the user's fields from another collection in place of its own."""
    own = {key: value for key, value in payload.items() if key in MEASURED and key != "image_url"}
    return arrange(own, said, shown)


def arrange(own: Payload, said: Payload, shown: Payload) -> Payload:
    """A whole payload, in the order in which the dashboard shows it."""
    label = {"label": said["label"]} if "label" in said else {}
    return {**shown, **label, **own, **said}


def select_user_fields(payload: Payload) -> Payload:
    """The user's fields: the label, and those from a metadata file."""
    return {key: value for key, value in payload.items() if key not in MEASURED}


def collect_user_fields(entry: Entry, metadata: Mapping[tuple[str, str], Mapping[str, Any]]) -> Payload:
    """The user's fields of an image in this run. A run without labels removes none that an earlier one gave."""
    label = {} if entry.label is None else {"label": entry.label}
    return {**label, **metadata.get((entry.source, entry.key), {})}


def match_source(name: str) -> Filter:
    """True for the points of that source."""
    return Filter(must=(Match("source", (name,)),))
