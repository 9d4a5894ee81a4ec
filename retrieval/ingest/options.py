"""How an ingest is to go, with the defaults and their reasons."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval.config import Settings

MAX_DELETE = 0.1
"""Share of a source's points that `--prune` may remove unasked: more is likelier a wrong mount than a clean-up."""
MAX_FAILURES = 1000
"""Newly refused images that stop a run: by then it is likelier the disk or the mount than the images. One that could
not be read before, and cannot be read now, is no news."""


@dataclass(frozen=True, slots=True)
class Ray:
    """A Ray cluster that does the work. settings: for its workers · address: None for one that is started here."""

    settings: "Settings"
    address: str | None = None


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """What `retrieval ingest` offers.

    metadata: source and key of an image → fields for its payload · batch: images encoded and written together, None: by
    their size · workers: how many read and decode at once, None: as it pays · public_url: where the service shows
    pictures, None: where the collection says · layout: fields of `Layout` that a new collection is to have ·
    ray: who does the work, None: this process.
    """

    force: bool = False
    dry_run: bool = False
    prune: bool = False
    max_delete: float = MAX_DELETE
    yes: bool = False
    retry_failed: bool = False
    max_failures: int = MAX_FAILURES
    metadata: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)
    batch: int | None = None
    workers: int | None = None
    public_url: str | None = None
    layout: Mapping[str, Any] = field(default_factory=dict)
    ray: Ray | None = None
