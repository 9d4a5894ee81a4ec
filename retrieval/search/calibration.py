"""What a distance means in a collection: how it compares with those from its pictures to their own nearest.

Learned from a sample when a collection is filled, and kept in its metadata.
"""

from dataclasses import replace

import numpy as np

from retrieval.schema.filters import Filter, Match
from retrieval.schema.records import CollectionMeta, codes_of
from retrieval.store.base import Store

SAMPLE = 500
"""Pictures whose nearest is looked for, the first by id, and an id is a hash: a share is then known to about 0.02."""
CHANGED = 0.1
"""Share of the points that may come or go before it is worth learning again."""
MIN_IMAGES = 20
"""Of fewer pictures nothing can be said."""
FAR = 90.0
"""Beyond this percentile, a picture of which the model can draw nothing at all is taken for unlike."""
NO_MATCH = 99.5
"""A nearest picture beyond this percentile is alike by chance only: noise lies there (docs/decisions/0012)."""


def percentile(meta: CollectionMeta, distance: float) -> float | None:
    """Share, in [0, 100], of the collection's pictures that are nearer to their nearest; None where it is not known.

    >>> meta = CollectionMeta("", 2, (8, 8), 1, "", neighbours=tuple(range(101)))
    >>> percentile(meta, 3.5), percentile(meta, 1000)
    (3.5, 100.0)
    """
    if not meta.neighbours:
        return None
    return float(np.interp(distance, meta.neighbours, np.linspace(0, 100, len(meta.neighbours))))


def distance_at(meta: CollectionMeta, share: float) -> float | None:
    """The distance at a percentile: the other way round."""
    if not meta.neighbours:
        return None
    return float(np.interp(share, np.linspace(0, 100, len(meta.neighbours)), meta.neighbours))


def fit(store: Store, collection: str) -> CollectionMeta:
    """Measure, and note it in the metadata, unless what is there is recent enough; returns the metadata.

    A picture's exact copies do not count as its nearest.
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
