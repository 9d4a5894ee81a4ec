"""Calibration of distances: how a distance compares with those between a collection's images and their nearest.

Measured on a sample when a collection is filled, and stored in its metadata.
"""

from dataclasses import replace

import numpy as np

from retrieval.schema.filters import Filter, Match
from retrieval.schema.records import CollectionMeta, codes_of
from retrieval.store.base import Store

SAMPLE = 500
"""Number of images whose nearest neighbour is measured; a share is then known to about 0.02.

The first by id, which is a random sample because an id is a hash.
"""
CHANGED = 0.1
"""Share of the points that may be added or removed before the calibration is measured again."""
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

    Does nothing if the stored calibration is recent enough. Exact copies of an image do not count as its neighbours.
    """
    meta, points = store.metadata(collection), store.count(collection)
    if points < MIN_IMAGES or abs(points - meta.neighbours_of) <= CHANGED * meta.neighbours_of:
        return meta
    sample = next(store.scroll(collection, codes=True, page=SAMPLE), [])
    codes = codes_of(sample)
    others = [Filter(must_not=(Match("sha256", (point.payload["sha256"],)),)) for point in sample]
    nearest = [hits[0].distance for hits in store.query(collection, codes, 1, others, payload=False) if hits]
    if not nearest:
        return meta
    quantiles = np.quantile(nearest, np.linspace(0, 1, 101))
    meta = replace(meta, neighbours=tuple(round(float(q), 5) for q in quantiles), neighbours_of=points)
    store.set_metadata(collection, meta)
    return meta
