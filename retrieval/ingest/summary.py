"""The counts of an ingest, updated while it runs."""

from dataclasses import dataclass, field
from typing import Any

from retrieval.schema.records import full_name
from retrieval.sources.base import NAMED, PassedOver
from retrieval.sources.read import Refused

COUNTS = ("found", "encoded", "unchanged", "copied", "deleted", "failed")

WORK = ("found", "new", "changed", "encoded", "unchanged", "described", "copied")
"""The counts that a Ray worker reports for each page."""


@dataclass(slots=True)
class IngestSummary:
    """Counts of images. Each image is in exactly one of encoded, unchanged, copied and failed.

    found: images listed so far; all of them once `listed` is true
    new: of these, opened because they were not stored
    changed: of these, opened although they were stored
    described: of these, with a row in the metadata file
    deleted: points removed; with `dry_run`, points that would be removed
    unasked: points kept although their images were not listed, because their source did not answer
    unasked_why: why it did not
    refused: entry and reason of each image in `failed`, newly refused or refused before and unchanged since
    newly_refused: of these, not refused before
    """

    alias: str
    collection: str | None
    dry_run: bool = False
    found: int = 0
    listed: bool = False
    new: int = 0
    changed: int = 0
    encoded: int = 0
    unchanged: int = 0
    described: int = 0
    copied: int = 0
    deleted: int = 0
    unasked: int = 0
    unasked_why: str = ""
    seconds: float = 0.0
    refused: list[Refused] = field(default_factory=list)
    newly_refused: int = 0
    passed_over: dict[str, PassedOver] = field(default_factory=dict)
    """Images of unsupported formats, by source; empty with Ray."""
    gone: list[str] = field(default_factory=list)
    """The first few deleted images, as `source/key`."""

    @property
    def failed(self) -> int:
        return len(self.refused)

    @property
    def kept(self) -> int:
        """Of the failed, those that the collection still holds in an earlier state."""
        return sum(item.held for item in self.refused)

    @property
    def stale(self) -> int:
        """Of the kept, those that could be read but no longer decoded."""
        return sum(item.stale for item in self.refused)

    @property
    def done(self) -> int:
        """Images that have been dealt with."""
        return self.encoded + self.unchanged + self.copied + self.failed

    def numbers(self) -> dict[str, Any]:
        """The counts, without the lists."""
        plan = {"dry_run": True, "new": self.new, "changed": self.changed} if self.dry_run else {}
        counts = {name: getattr(self, name) for name in (*COUNTS, "collection", "alias")}
        unasked = {"unasked": self.unasked, "unasked_why": self.unasked_why} if self.unasked else {}
        return {**plan, **counts, "seconds": round(self.seconds, 2), "stale": self.stale, **unasked}

    def to_json(self) -> dict[str, Any]:
        first = [full_name(source, key) for source, passed in self.passed_over.items() for key in passed.first]
        passed = {"count": sum(each.count for each in self.passed_over.values()), "first": first[:NAMED]}
        return {**self.numbers(), "passed_over": passed, "refused": [refused.to_json() for refused in self.refused]}
