"""The options of a re-index, with their defaults and the reasons for these."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from retrieval.ingest.options import MAX_DELETE, MAX_FAILURES, RayCluster

KEEP = 2
"""Earlier collections that are kept: one to roll back to, and one more in case that is bad as well."""
MIN_RECALL = 0.98
"""Share of the true five nearest that the engine must find; Qdrant's default index reaches 0.994."""
MAX_DROP = 0.02
"""Allowed loss of quality. Two models of the same recipe and images differ by less: 0.001 on MNIST, three seeds."""


@dataclass(frozen=True, slots=True)
class ReindexOptions:
    """What `retrieval reindex` offers.

    keep: number of earlier collections that are kept
    min_recall: limit of the gate, in [0, 1]: least share of the true five nearest that the engine finds
    max_drop: limit of the gate, in [0, 1]: by how much copies found and P@5 may be lower than in the live collection
    max_delete: limit of the gate, in [0, 1]: by which share the new collection may be smaller than the live one
    max_failures: maximum number of newly refused images; one more stops the run
    dry_run: fill and check, but do not swap
    older_than: in seconds; do nothing while the live collection is younger
    if_changed: do nothing when model and images are the same as in the live collection
    fresh: a model is trained for this run, if one is due, and becomes the default when it goes live
    layout: fields of `Layout` for the new collection (default: as in the live one)
    ray: the Ray cluster to run on; None runs in this process
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
