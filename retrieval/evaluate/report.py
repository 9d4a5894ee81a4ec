"""The result of an evaluation, and its verdict in one sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy import ndarray

from retrieval.evaluate.ann_recall import EngineRecall
from retrieval.evaluate.baselines import FROZEN_TRUNK, UNTRAINED
from retrieval.evaluate.data import EvaluationSet
from retrieval.evaluate.failures import Failure
from retrieval.evaluate.scoring import Scores
from retrieval.schema.records import utc_now
from retrieval.schema.verdict import COPIES, Verdict
from retrieval.sources.read import Refused

OF_PIXELS = ("raw pixels", "PCA", UNTRAINED)
"""Baselines that a model which finds fewer copies than they do has certainly not beaten."""
DOUBT = 2.0
"""Standard errors; a smaller difference counts as chance."""


@dataclass(frozen=True, slots=True)
class Report:
    """What an evaluation measured.

    fingerprint: of the model
    sources, query_sources: as given on the command line; no query_sources: the images queried each other
    k: hits per query
    scores: the model's, then the baselines'
    worst: the model's worst queries, worst first
    engine: the engine's recall; None if it could not be measured
    notes: what a reader must know to interpret the scores
    seconds: duration of the evaluation
    on_trunk: the model stands on the trunk
    measured: UTC, ISO 8601
    """

    fingerprint: str
    sources: Sequence[str]
    query_sources: Sequence[str] | None
    k: int
    data: EvaluationSet
    scores: Sequence[Scores]
    worst: Sequence[Failure]
    refused: Sequence[Refused]
    engine: EngineRecall | None = None
    notes: Sequence[str] = ()
    seconds: float = field(default=0.0, compare=False)
    on_trunk: bool = False
    measured: str = field(default_factory=utc_now, compare=False)

    @property
    def model(self) -> Scores:
        return self.scores[0]

    def _successes(self, scores: Scores) -> ndarray:
        """What the verdict compares: P@k of each query; without labels, whether each copy found its original."""
        return scores.labelled.precision if scores.labelled else (scores.copy_ranks <= 1).astype(float)

    @property
    def verdict(self) -> Verdict:
        """Whether training helped."""
        metric = f"P@{self.k}" if self.model.labelled else COPIES
        fair = [scores for scores in self.scores[1:] if self.model.labelled or scores.name in OF_PIXELS]
        baselines = {scores.name: self._successes(scores) for scores in fair}
        return judge(metric, self._successes(self.model), baselines, self.measured)

    @property
    def helped(self) -> bool | None:
        """Whether the model beats the best baseline; None if the difference may be chance."""
        return self.verdict.helped

    @property
    def advice(self) -> str:
        """What may make the model better than the best baseline."""
        return advise(self.verdict, on_trunk=self.on_trunk)

    def classes(self) -> list[dict[str, Any]]:
        """The model's scores for each label, worst P@k first; empty without labels."""
        if (found := self.model.labelled) is None:
            return []
        numbers = self.data.labels[found.rows]
        table = []
        for number in np.unique(numbers):
            part = numbers == number
            label = self.data.entries[found.rows[part.argmax()]].label
            table.append({"label": label, "queries": int(part.sum()), **found.means(part)})
        return sorted(table, key=lambda row: row["p_at_k"])

    def to_json(self) -> dict[str, Any]:
        labelled = self.model.labelled
        return {
            "model": self.fingerprint,
            "sources": list(self.sources),
            "queries_from": None if self.query_sources is None else list(self.query_sources),
            "indexed": self.data.indexed,
            "queries": len(self.data.queries),
            "labelled": 0 if labelled is None else len(labelled.rows),
            "alone": 0 if labelled is None else int(labelled.alone.sum()),
            "copies": len(self.model.copy_ranks),
            "k": self.k,
            "scores": [round_floats(scores.to_json()) for scores in self.scores],
            "helped": self.helped,
            "verdict": str(self.verdict),
            "classes": [round_floats(row) for row in self.classes()],
            "worst": [round_floats(case.to_json(self.data)) for case in self.worst],
            "engine": self.engine and round_floats(self.engine.to_json()),
            "notes": list(self.notes),
            "refused": [item.to_json() for item in self.refused],
            "seconds": round(self.seconds, 1),
        }


def judge(metric: str, model: ndarray, baselines: Mapping[str, ndarray], measured: str) -> Verdict:
    """The verdict on a model, from each query's success in [0, 1] with the model and with each baseline.

    That copies find their originals is what a model is trained for: it never proves that learning helped.

    metric: what a success is
    measured: UTC, ISO 8601
    """
    best = max(baselines, key=lambda name: baselines[name].mean())
    difference = model - baselines[best]
    error = difference.std() / np.sqrt(len(difference))  # paired by query
    helped = None if abs(difference.mean()) <= DOUBT * error else bool(difference.mean() > 0)
    if metric == COPIES:
        helped = False if helped is False else None
    ours, theirs = (round(float(each.mean()), 4) for each in (model, baselines[best]))
    return Verdict(metric, ours, measured, len(model), best, theirs, helped)


def advise(verdict: Verdict, *, on_trunk: bool) -> str:
    """What may make a model better than the best baseline.

    on_trunk: it stands on the trunk
    """
    if on_trunk:
        return "more images may help, or --trunk none if these are drawings or scans"
    if verdict.baseline == FROZEN_TRUNK:
        return "try retrieval train with --trunk photos, or more images"
    return "try more --epochs or more images, or --trunk photos if these are photographs"


def round_floats(values: dict[str, Any]) -> dict[str, Any]:
    """Round floats to four decimals, the precision that the sample supports."""
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in values.items()}
