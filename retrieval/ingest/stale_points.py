"""Points whose images were good and cannot be decoded any more; they are marked, and stay until a prune."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from retrieval.ingest.summary import IngestSummary
from retrieval.schema.records import STALE, Payload, point_id


def is_stale(payload: Payload) -> bool:
    """Whether the payload is marked stale."""
    return payload.get(STALE) is True


def mark_stale(payload: Payload) -> Payload:
    """The payload, marked stale."""
    return {**payload, STALE: True}


def clear_stale(payload: Payload) -> Payload:
    """The payload without the mark: the image is as it was when it was stored."""
    return {name: value for name, value in payload.items() if name != STALE}


def find_stale(source: str, summary: IngestSummary) -> Iterator[tuple[str, str]]:
    """Id and key of the source's points whose images this run has refused for what is in them, now or again."""
    keys = (item.entry.key for item in summary.refused if item.stale and item.entry.source == source)
    return ((point_id(source, key), key) for key in keys)


def release_removed(ids: Sequence[str], summary: IngestSummary) -> None:
    """Note that the collection no longer holds these points, or with `dry_run` would not."""
    gone = set(ids)
    held = [item for item in summary.refused if item.held]
    if gone and held:
        ids_of = {id(item): point_id(item.entry.source, item.entry.key) for item in held}
        summary.refused = [
            replace(item, held=False) if ids_of.get(id(item)) in gone else item for item in summary.refused
        ]
