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
class RayCluster:
    """A Ray cluster that does the work.

    settings: for its workers
    address: of a running cluster; None: one is started here
    """

    settings: "Settings"
    address: str | None = None


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """What `retrieval ingest` offers.

    force: encode every image again
    dry_run: only count what would be done
    prune: remove the points of images that are gone from their source
    max_delete: share of a source's points, in [0, 1], that `prune` may remove without `yes`
    yes: let `prune` remove more than `max_delete`
    retry_failed: open images again that were refused and have not changed since
    max_failures: newly refused images at most; one more stops the run
    metadata: source and key of an image → fields for its payload
    batch: images encoded and written together; None: by their size
    workers: how many read and decode at once; None: as many as pay off
    public_url: of the service that shows the images; None: as the collection says
    layout: fields of `Layout` for a new collection
    ray: the Ray cluster that does the work; None: this process
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
    ray: RayCluster | None = None
