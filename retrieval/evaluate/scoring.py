"""One way of making codes, measured: how its neighbours agree with the labels, and how it finds copies."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from retrieval.evaluate.brute_force import distance_tables, exact_nearest, ranks
from retrieval.evaluate.data import EvaluationSet
from retrieval.evaluate.metrics import average_precision, effective_rank, matches, r_precision
from retrieval.sources.arrays import choose_rows

SPECTRUM = 2048
"""Codes whose singular values are looked at, chosen at random."""

LABELLED = {"p_at_k": "P@{k}", "recall_at_k": "recall@{k}", "map": "mAP", "r_precision": "R-prec."}
OTHERS = {"copy_recall_at_1": "copies\nfound", "copy_median_rank": "median\nrank", "effective_rank": "eff.\nrank"}
"""The metrics that are reported, and what their columns are called: of queries with a label, and of all."""

Tick = Callable[[int], None]
"""Told how many more queries are done."""


@dataclass(frozen=True, slots=True)
class LabelScores:
    """What each query with a label found among its k nearest, and the ranks of all that carry its label.

    average_precision and r_precision are NaN for a query whose label no other picture carries.
    """

    rows: Int[np.ndarray, " q"]
    hits: Bool[np.ndarray, "q k"]
    average_precision: Float[np.ndarray, " q"]
    r_precision: Float[np.ndarray, " q"]

    @property
    def precision(self) -> Float[np.ndarray, " q"]:
        """P@k of each query."""
        return np.asarray(self.hits.mean(axis=1))

    @property
    def alone(self) -> Bool[np.ndarray, " q"]:
        """Queries whose label no other picture carries: they can find nothing."""
        alone: np.ndarray = np.isnan(self.average_precision)
        return alone

    def means(self, part: Bool[np.ndarray, " q"] | None = None) -> dict[str, float | None]:
        """Means over a part of the queries, else over all; those alone count in P@k only, and None means all are.

        recall@k is the share of queries with at least one right hit, as image retrieval counts it (Jégou et al. 2011,
        doi 10.1109/TPAMI.2010.57); the share of all that is right would be at most k / 6,000 for an MNIST digit.
        """
        taken: np.ndarray = np.ones(len(self.rows), bool) if part is None else part
        fair = taken & ~self.alone
        values = {
            "recall_at_k": np.asarray(self.hits.any(axis=1)),
            "map": self.average_precision,
            "r_precision": self.r_precision,
        }
        means = {name: float(value[fair].mean()) if fair.any() else None for name, value in values.items()}
        return {"p_at_k": float(self.precision[taken].mean()), **means}


@dataclass(frozen=True, slots=True)
class Scores:
    """copy_ranks: for each distorted copy, the rank of its original; 1 is found at once."""

    name: str
    dim: int
    effective_rank: float
    copy_ranks: Int[np.ndarray, " c"]
    labelled: LabelScores | None

    def to_json(self) -> dict[str, str | int | float | None]:
        return {
            "codes": self.name,
            "dim": self.dim,
            **(self.labelled.means() if self.labelled else {}),
            "copy_recall_at_1": float((self.copy_ranks <= 1).mean()),
            "copy_median_rank": float(np.median(self.copy_ranks)),
            "effective_rank": self.effective_rank,
        }


def score(
    name: str,
    codes: Num[np.ndarray, "n d"],
    copied: Num[np.ndarray, "c d"],
    pictures: EvaluationSet,
    k: int,
    tick: Tick,
) -> Scores:
    """Measure the codes of all pictures and of the copies; labels that no two pictures share say nothing."""
    labelled = score_labels(codes, pictures, k, tick) if len(pictures.asking) else None
    sample = codes[choose_rows(pictures.indexed, SPECTRUM)].astype(np.float32)
    return Scores(
        name,
        codes.shape[1],
        effective_rank(sample),
        copy_ranks(codes, copied, pictures, tick),
        None if labelled is None or labelled.alone.all() else labelled,
    )


def score_labels(codes: Num[np.ndarray, "n d"], pictures: EvaluationSet, k: int, tick: Tick) -> LabelScores:
    """Let every query that has a label search the others."""
    indexed, labels, asking = codes[: pictures.indexed], pictures.labels, pictures.asking

    def ask(row: int, squared: np.ndarray) -> tuple[list[int], float, float]:
        squared[pictures.same(row)] = np.inf
        everything = np.sort(squared)
        found, _ = exact_nearest(squared, everything[k - 1], codes[row], indexed, k)
        hits, places = labels[found].tolist(), ranks(everything, squared[pictures.right(row)])
        return hits, *((average_precision(places), r_precision(places)) if len(places) else (np.nan, np.nan))

    answers: list[tuple[list[int], float, float]] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for part, table in distance_tables(codes[asking], indexed):
            answers += pool.map(ask, asking[part].tolist(), table)
            tick(len(table))
    hits, precisions, r_precisions = zip(*answers, strict=True)
    return LabelScores(
        asking, matches(labels[asking].tolist(), hits, k), np.array(precisions, float), np.array(r_precisions, float)
    )


def copy_ranks(
    codes: Num[np.ndarray, "n d"], copied: Num[np.ndarray, "c d"], pictures: EvaluationSet, tick: Tick
) -> Int[np.ndarray, " c"]:
    """The rank of each copy's original among all other pictures; ties count against it."""
    found = []
    for part, table in distance_tables(copied, codes[: pictures.indexed]):
        for row, squared in zip(pictures.originals[part].tolist(), table, strict=True):
            found.append(1 + int((squared[~pictures.same(row)] <= squared[row]).sum()))
        tick(len(table))
    return np.array(found)
