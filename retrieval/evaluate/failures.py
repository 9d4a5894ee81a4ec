"""The queries with the worst results, for a person to look at."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Num, UInt8

from retrieval.evaluate.brute_force import distance_tables, exact_nearest
from retrieval.evaluate.data import EvaluationSet
from retrieval.evaluate.scoring import Scores

WORST = 50
"""Maximum number of queries shown."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A query and its hits, nearest first.

    row, hits: rows of the evaluation set
    distances: Euclidean, from the query to each hit
    copy: the distorted copy that was the query, if it was one; `row` is its original
    copy_rank: rank of the copy's original; 1 is the nearest
    p_at_k, average_precision: of a query with a label, in [0, 1]
    """

    row: int
    hits: Int[np.ndarray, " k"]
    distances: Float[np.ndarray, " k"]
    copy: UInt8[np.ndarray, "h w c"] | None = None
    copy_rank: int | None = None
    p_at_k: float | None = None
    average_precision: float | None = None

    def to_json(self, data: EvaluationSet) -> dict[str, Any]:
        entry = data.entries[self.row]
        found = {name: getattr(self, name) for name in ("copy_rank", "p_at_k", "average_precision")}
        return {
            "source": entry.source,
            "path": entry.key,
            "label": entry.label,
            **{name: value for name, value in found.items() if value is not None},
        }


def worst_queries(
    scores: Scores, codes: Num[np.ndarray, "n d"], copied: Num[np.ndarray, "c d"], data: EvaluationSet, k: int
) -> list[Failure]:
    """The WORST queries of lowest average precision; without labels, the copies whose original ranks lowest.

    codes: embeddings of all images
    copied: embeddings of the distorted copies
    """
    if (found := scores.labelled) is None:
        chosen = np.argsort(-scores.copy_ranks, kind="stable")[:WORST]
        rows = data.originals[chosen]
        return [
            Failure(row, hits, distances, copy=data.copies[i], copy_rank=int(scores.copy_ranks[i]))
            for i, row, (hits, distances) in zip(
                chosen, rows.tolist(), neighbours(copied[chosen], codes, data, k), strict=True
            )
        ]
    order = np.lexsort((found.precision, found.average_precision))
    chosen = order[~found.alone[order]][:WORST]
    rows = found.rows[chosen]
    return [
        Failure(
            row, hits, distances, p_at_k=float(found.precision[i]), average_precision=float(found.average_precision[i])
        )
        for i, row, (hits, distances) in zip(
            chosen, rows.tolist(), neighbours(codes[rows], codes, data, k, rows), strict=True
        )
    ]


def neighbours(
    asking: Num[np.ndarray, "q d"],
    codes: Num[np.ndarray, "n d"],
    data: EvaluationSet,
    k: int,
    rows: Int[np.ndarray, " q"] | None = None,
) -> Iterator[tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]]:
    """The k nearest indexed images of each query (rows), and their distances.

    asking: embeddings of the queries
    codes: embeddings of all images
    rows: the queries' own rows, if they have any; images of the same content are left out
    """
    indexed = codes[: data.indexed]
    for part, table in distance_tables(asking, indexed):
        for i, squared in enumerate(table, start=part.start):
            if rows is not None:
                squared[data.has_content_of(int(rows[i]))] = np.inf
            yield exact_nearest(squared, np.partition(squared, k - 1)[k - 1], asking[i], indexed, k)
