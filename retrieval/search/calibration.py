"""Calibration of distances: how a distance compares with those between a collection's images and their nearest.

Measured on a sample when a collection is filled, and stored in its metadata.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from retrieval.schema.filters import Filter, Match
from retrieval.schema.records import CollectionMeta, Hit, Point, codes_of, utc_now
from retrieval.schema.verdict import Verdict
from retrieval.store.base import Store

SAMPLE = 500
"""Number of images whose nearest neighbour is measured; a share is then known to about 0.02.

The first by id, which is a random sample because an id is a hash.
"""
CHANGED = 0.1
"""Share of the points that may be added or removed before the calibration is measured again."""
JUDGED = 5
"""Nearest images whose labels are compared with the query's."""
MOST_LABELS = 10_000
"""Labels looked at, the most frequent ones; the images of others are not judged."""
MIN_IMAGES = 20
"""Collections of fewer images are not calibrated."""
FAR = 90.0
"""Beyond this percentile, a query that the decoder cannot reconstruct has no match."""
NO_MATCH = 99.5
"""If the nearest hit is beyond this percentile, there is no match: noise images lie there (docs/decisions/0012)."""


def percentile(meta: CollectionMeta, distance: float) -> float | None:
    """Share, in [0, 100], of the collection's images whose nearest neighbour is closer; None without a calibration.

    >>> meta = CollectionMeta("", 2, (8, 8), 1, "", neighbours=tuple(range(101)))
    >>> percentile(meta, 3.5), percentile(meta, 1000)
    (3.5, 100.0)
    """
    if not meta.neighbours:
        return None
    return float(np.interp(distance, meta.neighbours, np.linspace(0, 100, len(meta.neighbours))))


def distance_at(meta: CollectionMeta, share: float) -> float | None:
    """The distance at a percentile in [0, 100], the inverse of `percentile`; None without a calibration."""
    if not meta.neighbours:
        return None
    return float(np.interp(share, np.linspace(0, 100, len(meta.neighbours)), meta.neighbours))


def fit(store: Store, collection: str) -> CollectionMeta:
    """Measure the distances to nearest neighbours and store their quantiles in the metadata; returns the metadata.

    Where images have labels, also stores how many of the nearest have the right one, unless `retrieval evaluate` has
    compared the model with baselines. Does nothing if what is stored is recent enough. Exact copies of an image do not
    count as its neighbours.
    """
    meta, points = store.metadata(collection), store.count(collection)
    grown = abs(points - meta.neighbours_of) > CHANGED * meta.neighbours_of
    unjudged = bool(meta.labelled) and meta.verdict is None and can_judge(store, collection)
    if points < MIN_IMAGES or not (grown or unjudged):
        return meta
    sample = next(store.scroll(collection, codes=True, page=SAMPLE), [])
    others = [Filter(must_not=(Match("sha256", (point.payload["sha256"],)),)) for point in sample]
    found = store.query(collection, codes_of(sample), JUDGED, others, payload=False)
    nearest = [hits[0].distance for hits in found if hits]
    if not nearest:
        return meta
    quantiles = np.quantile(nearest, np.linspace(0, 1, 101))
    measured = replace(meta, neighbours=tuple(round(float(q), 5) for q in quantiles), neighbours_of=points)
    if meta.verdict is None or meta.verdict.baseline is None:
        measured = replace(measured, verdict=judge_labels(store, collection, sample, found))
    store.set_metadata(collection, measured)
    return measured


def can_judge(store: Store, collection: str) -> bool:
    """Whether any label has enough images to be all of an image's nearest; else each ingest would ask in vain."""
    return max(store.facet(collection, "label", 1).values(), default=0) > JUDGED


def judge_labels(
    store: Store, collection: str, sample: Sequence[Point], found: Sequence[Sequence[Hit]]
) -> Verdict | None:
    """How many of the nearest images have the query's label; None if no label has enough images to fill them.

    sample: the queries
    found: the JUDGED nearest images of each
    """
    if all(point.payload.get("label") is None for point in sample):
        return None
    sizes = store.facet(collection, "label", MOST_LABELS)
    labels = store.retrieve_fields(collection, sorted({hit.id for hits in found for hit in hits}), ["label"])
    shares = []
    for point, hits in zip(sample, found, strict=True):
        label = point.payload.get("label")
        if sizes.get(str(label), 0) > JUDGED and label is not None:
            theirs = [labels.get(hit.id, {}).get("label") for hit in hits]
            shares += [np.mean([each == label for each in theirs if each is not None])] if any(theirs) else []
    if not shares:
        return None
    return Verdict(f"P@{JUDGED}", round(float(np.mean(shares)), 4), utc_now(), len(shares))
