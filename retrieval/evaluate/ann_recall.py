"""The engine's recall: its hits compared with exact search over the embeddings that it stores."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from retrieval.errors import StoreError
from retrieval.model.neighbours import find_neighbours
from retrieval.schema.records import codes_of
from retrieval.search.neighbours import TIE
from retrieval.store.base import Store

QUERIES = 500
"""Maximum number of queries: enough to tell 0.99 from 1."""
PAGE = 4096
"""Embeddings read from the engine and compared at a time."""


@dataclass(frozen=True, slots=True)
class EngineRecall:
    """recall: share of the true k nearest that the engine returned, in [0, 1], over all queries."""

    engine: str
    collection: str
    points: int
    queries: int
    k: int
    recall: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def engine_recall(store: Store, collection: str, codes: Float32[np.ndarray, "q d"], k: int) -> EngineRecall:
    """Compare the engine's k nearest of each query with exact search over all stored embeddings, read page by page.

    Counted as in ann-benchmarks (Aumüller et al. 2018, arXiv 1807.05614): a hit is right if it is no farther than the
    true k-th, so ties do not count against the engine. Distances are recomputed, and a repeated hit counts once.

    codes: f32[q, D], the queries' embeddings
    k: at least 1; capped at the number of points
    Raises NoCollection, and StoreError when the collection is empty or the engine fails.
    """
    limits, points = kth_distances(store, collection, codes, k)
    if not points:
        raise StoreError(f"collection {collection} is empty", hint="fill it with: retrieval ingest SOURCE")
    answers = [{hit.id for hit in hits} for hits in store.query(collection, codes, k)]
    stored = store.retrieve(collection, sorted(set().union(*answers)), codes=True)
    right = 0
    for code, ids, limit in zip(codes, answers, limits, strict=True):
        found = codes_of([stored[id_] for id_ in ids if id_ in stored]).reshape(-1, codes.shape[1])
        right += int((np.linalg.norm(found - code, axis=1) <= limit * (1 + TIE)).sum())
    return EngineRecall(store.engine, collection, points, len(codes), k, right / (len(codes) * min(k, points)))


def kth_distances(
    store: Store, collection: str, codes: Float32[np.ndarray, "q d"], k: int
) -> tuple[Float[np.ndarray, " q"], int]:
    """Distance from each query to its k-th nearest point, or to the farthest if there are fewer; number of points."""
    best, points = np.full((len(codes), k), np.inf, np.float32), 0
    for page in store.scroll(collection, codes=True, page=PAGE):
        points += len(page)
        found = find_neighbours(codes_of(page), k, codes).distances
        best = np.sort(np.concatenate([best, found], axis=1), axis=1)[:, :k]
    return np.where(np.isfinite(best), best, -np.inf).max(axis=1), points
