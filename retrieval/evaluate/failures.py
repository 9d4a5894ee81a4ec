"""The queries that found the least, to look at."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Num, UInt8

from retrieval.evaluate.brute_force import distance_tables, exact_nearest
from retrieval.evaluate.data import EvaluationSet
from retrieval.evaluate.scoring import Scores

WORST = 50
"""Queries shown at most."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A query (a row of the pictures) and its hits (rows too), nearest first; `copy` is the distorted copy that asked.

    copy_rank: the rank of a copy's original · p_at_k, average_precision: of a query with a label.
    """

    row: int
    hits: Int[np.ndarray, " k"]
    distances: Float[np.ndarray, " k"]
    copy: UInt8[np.ndarray, "h w c"] | None = None
    copy_rank: int | None = None
    p_at_k: float | None = None
    average_precision: float | None = None

    def to_json(self, pictures: EvaluationSet) -> dict[str, Any]:
        entry = pictures.entries[self.row]
        found = {name: getattr(self, name) for name in ("copy_rank", "p_at_k", "average_precision")}
        return {
            "source": entry.source,
            "path": entry.key,
            "label": entry.label,
            **{name: value for name, value in found.items() if value is not None},
        }


def worst_queries(
    scores: Scores, codes: Num[np.ndarray, "n d"], copied: Num[np.ndarray, "c d"], pictures: EvaluationSet, k: int
) -> list[Failure]:
    """The queries of lowest average precision; without labels, the copies whose original came last."""
    if (found := scores.labelled) is None:
        chosen = np.argsort(-scores.copy_ranks, kind="stable")[:WORST]
        rows = pictures.originals[chosen]
        return [
            Failure(row, hits, distances, copy=pictures.copies[i], copy_rank=int(scores.copy_ranks[i]))
            for i, row, (hits, distances) in zip(
                chosen, rows.tolist(), neighbours(copied[chosen], codes, pictures, k), strict=True
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
            chosen, rows.tolist(), neighbours(codes[rows], codes, pictures, k, rows), strict=True
        )
    ]


def neighbours(
    asking: Num[np.ndarray, "q d"],
    codes: Num[np.ndarray, "n d"],
    pictures: EvaluationSet,
    k: int,
    rows: Int[np.ndarray, " q"] | None = None,
) -> Iterator[tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]]:
    """The hits of each query, and their distances; `rows` are the queries' own, whose content is left out."""
    indexed = codes[: pictures.indexed]
    for part, table in distance_tables(asking, indexed):
        for i, squared in enumerate(table, start=part.start):
            if rows is not None:
                squared[pictures.same(int(rows[i]))] = np.inf
            yield exact_nearest(squared, np.partition(squared, k - 1)[k - 1], asking[i], indexed, k)
