"""The options of an ingest, with their defaults and the reasons for these."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retrieval.config import Settings

MAX_DELETE = 0.1
"""Share of a source's points that `--prune` may remove without `--yes`; more suggests a missing mount."""
MAX_FAILURES = 1000
"""Maximum number of newly refused images; with more, the disk or the mount is a likelier cause than the images. Images
that an earlier run could not read either do not count."""


@dataclass(frozen=True, slots=True)
class RayCluster:
    """The Ray cluster to run on.

    settings: for its workers
    address: of a running cluster; None starts one on this machine
    """

    settings: "Settings"
    address: str | None = None


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """What `retrieval ingest` offers.

    force: encode every image again
    dry_run: only count; write nothing
    prune: remove the points of images that are gone from their source
    max_delete: share of a source's points, in [0, 1], that `prune` may remove without `yes`
    yes: let `prune` remove more than `max_delete`
    retry_failed: open refused images again even if they have not changed
    max_failures: maximum number of newly refused images; one more stops the run
    metadata: source and key of an image → fields for its payload
    batch: number of images encoded and written together (default: chosen by their size)
    workers: number of threads or processes that read and decode (default: chosen by the number of processors)
    public_url: of the service that shows the images (default: the recorded one)
    layout: fields of `Layout` for a new collection
    ray: the Ray cluster to run on; None runs in this process
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
