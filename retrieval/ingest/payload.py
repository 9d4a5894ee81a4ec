"""The fields of a point's payload: those measured from the image, and the user's."""

from collections.abc import Mapping
from typing import Any

from retrieval.schema.filters import Filter, Match
from retrieval.schema.records import FIELDS, Payload, utc_now
from retrieval.sources import Entry
from retrieval.sources.read import Loaded

MEASURED = FIELDS.keys() - {"label"}
"""Fields that are set from the image and its location."""


def make_payload(item: Loaded, before: Payload, given: Payload, image_url: Payload) -> Payload:
    """The payload of an image's point. It is flat, because the dashboard shows payloads unchanged.

    item: the image as it was read
    before: an earlier payload, whose user's fields are kept
    given: the user's fields in this run
    image_url: the `image_url` field
    """
    entry, image = item.entry, item.image
    own = {
        "source": entry.source,
        "path": entry.key,
        "sha256": item.sha256,
        "bytes": entry.bytes,
        "mtime_ns": entry.mtime_ns,
        "width": image.width,
        "height": image.height,
        "ingested_at": utc_now(),
    }
    return arrange(own, {**select_user_fields(before), **given}, image_url)


def replace_user_fields(payload: Payload, user_fields: Payload, image_url: Payload) -> Payload:
    """Replace the user's fields of a payload with those of another collection."""
    own = {key: value for key, value in payload.items() if key in MEASURED and key != "image_url"}
    return arrange(own, user_fields, image_url)


def arrange(own: Payload, user_fields: Payload, image_url: Payload) -> Payload:
    """A whole payload, with its fields in the order in which the dashboard shows them."""
    label = {"label": user_fields["label"]} if "label" in user_fields else {}
    return {**image_url, **label, **own, **user_fields}


def select_user_fields(payload: Payload) -> Payload:
    """The user's fields: the label, and those from a metadata file."""
    return {key: value for key, value in payload.items() if key not in MEASURED}


def collect_user_fields(entry: Entry, metadata: Mapping[tuple[str, str], Mapping[str, Any]]) -> Payload:
    """The user's fields of an image in this run; those of a metadata file come before what the source says.

    A run without labels keeps those of earlier runs.
    """
    label = {} if entry.label is None else {"label": entry.label}
    return {**(entry.fields or {}), **label, **metadata.get((entry.source, entry.key), {})}


def match_source(name: str) -> Filter:
    """A filter for the points of that source."""
    return Filter(must=(Match("source", (name,)),))
