"""Scores of one embedding method: how well neighbours share labels, and whether copies find their originals."""

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
"""Number of embeddings, chosen at random, from which the effective rank is computed."""

LABELLED = {"p_at_k": "P@{k}", "recall_at_k": "recall@{k}", "map": "mAP", "r_precision": "R-prec."}
OTHERS = {"copy_recall_at_1": "copies\nfound", "copy_median_rank": "median\nrank", "effective_rank": "eff.\nrank"}
"""Reported metrics and their column headings: of labelled queries, and of all images."""

Tick = Callable[[int], None]
"""Called with the number of queries just finished."""


@dataclass(frozen=True, slots=True)
class LabelScores:
    """Scores of the labelled queries.

    rows: the queries' rows in the evaluation set
    hits: whether each of the k nearest carries the query's label
    average_precision, r_precision: in [0, 1]; NaN for a query whose label no other image carries
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
        """Whether no other image carries the query's label."""
        alone: np.ndarray = np.isnan(self.average_precision)
        return alone

    def means(self, part: Bool[np.ndarray, " q"] | None = None) -> dict[str, float | None]:
        """Mean scores; None where no query has another image of its label.

        Queries whose label no other image carries count only in P@k. recall@k is the share of queries with at least
        one right hit, as usual in image retrieval (Jégou et al. 2011, doi 10.1109/TPAMI.2010.57): the share of all
        relevant images would be at most k / 6,000 for an MNIST digit.

        part: the queries to average over (default: all)
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
    """Scores of one embedding method.

    name: of the method
    dim: of its embeddings
    effective_rank: how many dimensions they use
    copy_ranks: rank of each distorted copy's original; 1 is the nearest
    labelled: scores of the labelled queries, if labels tell anything
    """

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
    data: EvaluationSet,
    k: int,
    tick: Tick,
) -> Scores:
    """Score an embedding method. Labels that no two images share are not scored.

    codes: embeddings of all images
    copied: embeddings of the distorted copies
    """
    labelled = score_labels(codes, data, k, tick) if len(data.labelled_queries) else None
    sample = codes[choose_rows(data.indexed, SPECTRUM)].astype(np.float32)
    return Scores(
        name,
        codes.shape[1],
        effective_rank(sample),
        copy_ranks(codes, copied, data, tick),
        None if labelled is None or labelled.alone.all() else labelled,
    )


def score_labels(codes: Num[np.ndarray, "n d"], data: EvaluationSet, k: int, tick: Tick) -> LabelScores:
    """Search with every labelled query, and score its hits by their labels."""
    indexed, labels, asking = codes[: data.indexed], data.labels, data.labelled_queries

    def ask(row: int, squared: np.ndarray) -> tuple[list[int], float, float]:
        squared[data.has_content_of(row)] = np.inf
        everything = np.sort(squared)
        found, _ = exact_nearest(squared, everything[k - 1], codes[row], indexed, k)
        hits, places = labels[found].tolist(), ranks(everything, squared[data.relevant(row)])
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
    codes: Num[np.ndarray, "n d"], copied: Num[np.ndarray, "c d"], data: EvaluationSet, tick: Tick
) -> Int[np.ndarray, " c"]:
    """The rank of each copy's original among all images; 1 is the nearest, and ties count against it."""
    found = []
    for part, table in distance_tables(copied, codes[: data.indexed]):
        for row, squared in zip(data.originals[part].tolist(), table, strict=True):
            found.append(1 + int((squared[~data.has_content_of(row)] <= squared[row]).sum()))
        tick(len(table))
    return np.array(found)
