"""Images that fit nowhere: far from all others, or such that the autoencoder cannot draw them.

An odd picture that has come in numbers is near its like, so distance alone would miss it; but what the model has hardly
seen it reconstructs badly, however many there are.
"""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from retrieval.model.encoder import Encoder
from retrieval.schema.filters import Filter, Match
from retrieval.schema.records import Payload, Point, codes_of, payload_name
from retrieval.search.calibration import percentile
from retrieval.search.run import LiveCollection
from retrieval.sources import Source
from retrieval.sources.arrays import stored_entry
from retrieval.sources.read import Loaded, read_images
from retrieval.store.base import Store
from retrieval.util.reporting import ReportCount, ignore

NEIGHBOURS = 5
"""A picture's distance is that to its fifth nearest content: a few odd ones of a kind, and their copies, stay odd."""
PAGE = 1024
TYPICAL = 1.4826
"""Makes a median absolute deviation comparable with a standard deviation."""
MEAN = 1.2533
"""The same for a mean absolute deviation, which stands in where more than half of the values are one."""


@dataclass(frozen=True, slots=True)
class Outlier:
    """A picture that fits nowhere.

    distance: to its fifth nearest · percentile: of that among the nearest-neighbour distances, or None ·
    error: share of the picture's variance that its reconstruction misses, None when it could not be read ·
    score: how many typical deviations above the median the larger of the two is · why: which one that is.
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
) -> list[Outlier]:
    """The pictures that fit least, at most `limit`, the oddest first.

    Pictures that cannot be read are judged by distance alone.
    """
    ids: list[str] = []
    distances: list[float] = []
    errors: list[float] = []
    total = store.count(live.collection)
    for page in store.scroll(live.collection, codes=True, page=PAGE):
        ids += [point.id for point in page]
        codes = codes_of(page)
        others = [Filter(must_not=(Match("sha256", (point.payload["sha256"],)),)) for point in page]
        hits = store.query(live.collection, codes, NEIGHBOURS, others, distinct="sha256", payload=False)
        distances += [found[-1].distance if found else 0.0 for found in hits]
        errors += reconstruction_errors(live.encoder, page, codes, sources).tolist()
        report(len(ids), total)
    far, odd = robust_scores(np.array(distances)), robust_scores(np.array(errors))
    scores = np.fmax(far, odd)
    chosen = heapq.nlargest(limit, range(len(ids)), key=scores.__getitem__)
    points = store.retrieve(live.collection, [ids[row] for row in chosen])
    return [
        Outlier(
            ids[row],
            points[ids[row]].payload,
            distances[row],
            percentile(live.meta, distances[row]),
            None if np.isnan(errors[row]) else round(errors[row], 4),
            float(scores[row]),
            "far from all others" if not odd[row] > far[row] else "badly reconstructed",
        )
        for row in chosen
        if ids[row] in points
    ]


def reconstruction_errors(
    encoder: Encoder, page: list[Point], codes: Float[np.ndarray, "n d"], sources: Mapping[str, Source]
) -> Float[np.ndarray, " n"]:
    """Share of each picture's variance that the decoder misses; NaN for one that cannot be read or has changed."""
    errors = np.full(len(page), np.nan)
    known = [row for row, point in enumerate(page) if point.payload["source"] in sources]
    entries = [stored_entry(page[row], sources[page[row].payload["source"]]) for row in known]
    config = encoder.config
    read = zip(known, read_images(entries, config.image_size, config.channels), strict=True)
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
    """How many typical deviations each value lies above the median; NaN stays.

    The median absolute deviation, which outliers hardly move (Leys et al. 2013, doi 10.1016/j.jesp.2013.03.013).

    >>> robust_scores(np.array([1.0, 2.0, 3.0, 2.0, 9.0])).round(1).tolist()
    [-0.7, 0.0, 0.7, 0.0, 4.7]
    """
    if np.isnan(values).all():
        return values
    median = np.nanmedian(values)
    away = np.abs(values - median)
    spread = TYPICAL * np.nanmedian(away)
    if spread <= 1e-6 * np.nanmax(away):  # but for rounding
        spread = MEAN * np.nanmean(away)
    deviation: np.ndarray = (values - median) / max(float(spread), 1e-9)
    return deviation
