"""Stale points: their images could be decoded once and no longer can. They are marked, and kept until a prune."""

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
    """The payload without the mark."""
    return {name: value for name, value in payload.items() if name != STALE}


def find_stale(source: str, summary: IngestSummary) -> Iterator[tuple[str, str]]:
    """Id and key of the source's points whose images this run refused for their content."""
    keys = (item.entry.key for item in summary.refused if item.stale and item.entry.source == source)
    return ((point_id(source, key), key) for key in keys)


def release_removed(ids: Sequence[str], summary: IngestSummary) -> None:
    """Mark the refused images of removed points as no longer held; with `dry_run`, of points that would be removed."""
    gone = set(ids)
    held = [item for item in summary.refused if item.held]
    if gone and held:
        ids_of = {id(item): point_id(item.entry.source, item.entry.key) for item in held}
        summary.refused = [
            replace(item, held=False) if ids_of.get(id(item)) in gone else item for item in summary.refused
        ]
