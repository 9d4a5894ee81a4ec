"""How a re-index is to go, with the defaults and their reasons."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from retrieval.ingest.options import MAX_DELETE, MAX_FAILURES, RayCluster

KEEP = 2
"""Earlier collections that stay: the one to go back to, and one more in case that is bad as well."""
MIN_RECALL = 0.98
"""Share of the true five nearest that the engine must give: Qdrant's own default index reaches 0.994."""
MAX_DROP = 0.02
"""Two models of the same recipe and images differ by less (0.001 on MNIST, over three seeds)."""


@dataclass(frozen=True, slots=True)
class ReindexOptions:
    """What `retrieval reindex` offers.

    keep: number of earlier collections that stay
    min_recall: limit of the gate, a share in [0, 1]: of the true five nearest that the engine finds
    max_drop: limit of the gate, a share in [0, 1]: by which copies found and P@5 may be lower than live
    max_delete: limit of the gate, a share in [0, 1]: by which the new collection may be smaller than the live one
    max_failures: newly refused images at most; one more stops the run
    dry_run: fill and check, but do not swap
    older_than: in seconds; do nothing while the live collection is younger
    if_changed: do nothing when model and images are those of the live collection
    fresh: the model is trained for this run, when one is due, and becomes the default with it
    layout: fields of `Layout` for the new collection; all others are as in the live one
    ray: the Ray cluster that fills it; None: this process
    """

    keep: int = KEEP
    min_recall: float = MIN_RECALL
    max_drop: float = MAX_DROP
    max_delete: float = MAX_DELETE
    max_failures: int = MAX_FAILURES
    dry_run: bool = False
    older_than: float | None = None
    if_changed: bool = False
    fresh: bool = False
    layout: Mapping[str, Any] = field(default_factory=dict)
    ray: RayCluster | None = None
