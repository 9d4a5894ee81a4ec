"""Outliers: images that are far from all others, or that the autoencoder reconstructs badly.

Distance alone misses a group of similar outliers, because they are close to each other. The autoencoder reconstructs
unusual images badly even if there are several of them.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from retrieval.model.base_encoder import BaseEncoder
from retrieval.schema.arrays import Float
from retrieval.schema.records import Payload, Point, codes_of, payload_name
from retrieval.search.calibration import percentile
from retrieval.search.neighbours import CollectionTable, ContentNeighbours, find_content_neighbours
from retrieval.search.run import LiveCollection
from retrieval.sources import Source
from retrieval.sources.arrays import stored_entry
from retrieval.sources.read import Loaded, read_images
from retrieval.store.base import Store
from retrieval.util.reporting import ReportCount, ReportNote, ignore

NEIGHBOURS = 5
"""An image's distance is that to its fifth nearest content, so a few similar outliers still count as outliers."""
PAGE = 1024
TYPICAL = 1.4826
"""Scales a median absolute deviation to a standard deviation of normally distributed values."""
MEAN = 1.2533
"""The same for a mean absolute deviation, used if more than half of the values are equal."""


@dataclass(frozen=True, slots=True)
class Outlier:
    """An outlier.

    distance: Euclidean, to its fifth nearest content
    percentile: of that distance among those between neighbours; None without a calibration
    error: share of the image's variance that its reconstruction misses; None if the image could not be read
    score: robust z-score of the distance or the error, whichever is larger
    why: which of the two it is
    """

    id: str
    payload: Payload
    distance: float
    percentile: float | None
    error: float | None
    score: float
    why: str

    @property
    def name(self) -> str:
        return payload_name(self.payload)

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "score": round(self.score, 2),
            "why": self.why,
            "distance": self.distance,
            "percentile": self.percentile,
            "reconstruction_error": self.error,
            **self.payload,
        }


def find_outliers(
    store: Store,
    live: LiveCollection,
    sources: Mapping[str, Source],
    limit: int,
    report: ReportCount = ignore,
    note: ReportNote = ignore,
) -> list[Outlier]:
    """The `limit` images with the highest scores, highest first.

    Images that cannot be read are scored by distance alone.

    sources: open sources by name, from which the images are read
    report: called with how many points are done, and their total
    note: called if the distances come from the engine's index, with its recall
    """
    table, errors, total = CollectionTable(), list[float](), store.count(live.collection)
    for page in store.scroll(live.collection, codes=True, page=PAGE):
        table.add(page)
        errors += reconstruction_errors(live.encoder, page, codes_of(page), sources).tolist()
        report(len(table), total)
    near = find_content_neighbours(store, live.collection, table, NEIGHBOURS, note=note)
    distances = farthest_neighbours(near, table)
    far, odd = robust_scores(distances), robust_scores(np.array(errors))
    scores = np.fmax(far, odd)
    chosen = heapq.nlargest(limit, range(len(table)), key=scores.__getitem__)
    ids = {row: table.id_of(row) for row in chosen}
    points = store.retrieve(live.collection, list(ids.values()))
    return [
        Outlier(
            ids[row],
            points[ids[row]].payload,
            float(distances[row]),
            percentile(live.meta, float(distances[row])),
            None if np.isnan(errors[row]) else round(errors[row], 4),
            float(scores[row]),
            "far from all others" if not odd[row] > far[row] else "badly reconstructed",
        )
        for row in chosen
        if ids[row] in points
    ]


def farthest_neighbours(near: ContentNeighbours, table: CollectionTable) -> Float[np.ndarray, " n"]:
    """Each image's distance to the last of its content's neighbours; 0 if it has none."""
    last = np.where(np.isfinite(near.distances), near.distances, 0).max(axis=1, initial=0).astype(np.float64)
    return np.asarray(last[table.places_among(near.first)])


def reconstruction_errors(
    encoder: BaseEncoder, page: list[Point], codes: Float[np.ndarray, "n d"], sources: Mapping[str, Source]
) -> Float[np.ndarray, " n"]:
    """Share of each image's variance that its reconstruction misses; NaN if the image cannot be read or has changed."""
    errors = np.full(len(page), np.nan)
    known = [row for row, point in enumerate(page) if point.payload["source"] in sources]
    entries = [stored_entry(page[row], sources[page[row].payload["source"]]) for row in known]
    read = zip(known, read_images(entries, encoder.config.shape), strict=True)
    good = [
        (row, item.image.pixels)
        for row, item in read
        if isinstance(item, Loaded) and item.sha256 == page[row].payload["sha256"]
    ]
    if good:
        rows = np.array([row for row, _ in good])
        errors[rows] = encoder.unexplained_variance(np.stack([pixels for _, pixels in good]), codes[rows])
    return errors


def robust_scores(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Robust z-scores: the distance of each value from the median, in scaled median absolute deviations.

    Outliers hardly affect the median absolute deviation (Leys et al. 2013, doi 10.1016/j.jesp.2013.03.013). NaN stays.

    >>> robust_scores(np.array([1.0, 2.0, 3.0, 2.0, 9.0])).round(1).tolist()
    [-0.7, 0.0, 0.7, 0.0, 4.7]
    """
    if np.isnan(values).all():
        return values
    median = np.nanmedian(values)
    away = np.abs(values - median)
    spread = TYPICAL * np.nanmedian(away)
    if spread <= 1e-6 * np.nanmax(away):  # zero, apart from rounding
        spread = MEAN * np.nanmean(away)
    deviation: np.ndarray = (values - median) / max(float(spread), 1e-9)
    return deviation
