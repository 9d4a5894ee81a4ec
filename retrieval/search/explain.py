"""Compare two images: the distance of their embeddings, what it means in the collection, and their reconstructions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from retrieval.errors import UsageError
from retrieval.schema.arrays import Float32, UInt8
from retrieval.schema.filters import Filter, Match
from retrieval.search.calibration import percentile
from retrieval.search.query import Query, Stored
from retrieval.search.results import round_percentile
from retrieval.search.run import EncodedQuery, LiveCollection, prepare
from retrieval.store.base import Store

FARTHEST = 1000
"""The highest rank that is counted."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """How two images compare.

    distance: Euclidean, between the embeddings
    percentile: as for a hit
    ranks: of the second image among the first one's neighbours, and of the first among the second one's; 1 is the
        nearest, None is beyond FARTHEST
    same_content: the files are identical (SHA-256)
    seen: what the decoder reconstructs from each embedding, u8[h, w, c] in [0, 255]
    """

    names: tuple[str, str]
    distance: float
    percentile: float | None
    ranks: tuple[int | None, int | None]
    same_content: bool
    seen: tuple[UInt8[np.ndarray, "h w c"], UInt8[np.ndarray, "h w c"]]

    def to_json(self) -> dict[str, Any]:
        return {
            "a": self.names[0],
            "b": self.names[1],
            "distance": self.distance,
            "percentile": self.percentile,
            "rank_of_b_for_a": self.ranks[0],
            "rank_of_a_for_b": self.ranks[1],
            "same_content": self.same_content,
        }


def explain(store: Store, live: LiveCollection, pair: Sequence[Query | Stored]) -> Explanation:
    """Compare two images, each a file or one of the collection. Raises UsageError for one that cannot be used."""
    asked = []
    for query, item in zip(pair, prepare(store, live, pair), strict=True):
        if isinstance(item, str):
            raise UsageError(f"{query.name}: {item}")
        asked.append(item)
    a, b = asked
    distance = float(np.linalg.norm(a.code - b.code))
    ranks = count_ranks(store, live.collection, [a, b], distance)
    first, second = live.reconstruct(np.stack([a.code, b.code]))
    return Explanation(
        (pair[0].name, pair[1].name),
        distance,
        round_percentile(percentile(live.meta, distance)),
        (ranks[0], ranks[1]),
        a.content == b.content,
        (first, second),
    )


def count_ranks(store: Store, collection: str, asked: Sequence[EncodedQuery], distance: float) -> list[int | None]:
    """For each query, the rank of an image at `distance`: 1 plus the number of images that are nearer.

    Copies of the queries do not count. None beyond FARTHEST.
    """
    codes: Float32[np.ndarray, "n d"] = np.stack([item.code for item in asked])
    contents = tuple({item.content for item in asked})
    others = [Filter(must_not=(Match("sha256", contents),))] * len(asked)
    hits = store.query(collection, codes, FARTHEST, others, payload=False)
    nearer = [sum(hit.distance < distance for hit in found) for found in hits]
    return [count + 1 if count < FARTHEST else None for count in nearer]
