"""The verdict: better, worse, or perhaps chance."""

import dataclasses

import numpy as np
import pytest

from retrieval.evaluate.report import Report
from retrieval.evaluate.scoring import LabelScores, Scores
from retrieval.schema.verdict import COPIES, Verdict


def scores(name: str, hits: np.ndarray, *, labels: bool = True) -> Scores:
    """hits: 0 or 1 for each query."""
    found = LabelScores(
        np.arange(len(hits)), hits[:, None].astype(bool), np.full(len(hits), 0.5), np.full(len(hits), 0.5)
    )
    return Scores(name, 4, 2.0, np.where(hits, 1, 9), found if labels else None)


def report(*hits: np.ndarray, labels: bool = True) -> Report:
    names = ["model", "raw pixels", "PCA"]
    each = [scores(name, hit, labels=labels) for name, hit in zip(names, hits, strict=True)]
    return Report("f" * 64, ["s"], None, 1, None, each, [], [])  # type: ignore[arg-type]


RANDOM = np.random.default_rng(0)
GOOD, FAIR, POOR = (RANDOM.random(1000) < share for share in (0.9, 0.7, 0.5))


def test_better_than_the_best_baseline() -> None:
    found = report(GOOD, FAIR, POOR)
    assert found.helped is True
    assert found.verdict.baseline == "raw pixels"
    assert str(found.verdict) == (
        f"learning helped: P@1 {GOOD.mean():.4f} against {FAIR.mean():.4f} by raw pixels, the best baseline"
    )


def test_worse_than_one_baseline() -> None:
    found = report(FAIR, POOR, GOOD)
    assert found.helped is False
    assert str(found.verdict).startswith("learning did not help: P@1 ")
    assert "by PCA" in str(found.verdict)


def test_a_difference_that_may_be_chance() -> None:
    nearly = FAIR.copy()
    nearly[:3] ^= True
    assert report(nearly, FAIR, POOR).helped is None
    assert report(FAIR, FAIR, FAIR).helped is None
    assert str(report(FAIR, FAIR, POOR).verdict).startswith("no clear difference: ")


def test_without_labels_copies_can_only_speak_against_the_model() -> None:
    found = report(GOOD, FAIR, POOR, labels=False)
    assert found.helped is None
    assert str(found.verdict).startswith("no verdict without labels: copies that find their original ")
    found = report(FAIR, GOOD, POOR, labels=False)
    assert found.helped is False
    assert "by raw pixels" in str(found.verdict)
    trunk = dataclasses.replace(found.scores[1], name="frozen trunk")
    found = dataclasses.replace(found, scores=[found.scores[0], trunk, found.scores[2]])
    assert found.helped is None, "of digits the trunk finds most copies, and fewer of the right digits"


@pytest.mark.parametrize(
    ("verdict", "weak"),
    [
        (Verdict("P@5", 0.31, "", 9, "PCA", 0.25, helped=True), "P@5 0.3100, so most hits are wrong"),
        (Verdict("P@5", 0.31, ""), "P@5 0.3100, so most hits are wrong"),
        (Verdict("P@5", 0.58, "", 9, "PCA", 0.64, helped=False), "P@5 0.5800, 0.6400 by PCA"),
        (Verdict("P@5", 0.58, "", 9, "PCA", 0.6, helped=None), None),
        (Verdict("P@5", 0.93, "", 9, "frozen trunk", 0.95, helped=False), None),
        (Verdict(COPIES, 0.93, "", 9, "PCA", 0.95, helped=False), f"{COPIES} 0.9300, 0.9500 by PCA"),
        (Verdict(COPIES, 0.31, "", 9, "PCA", 0.05, helped=True), None),
    ],
)
def test_what_counts_as_weak(verdict: Verdict, weak: str | None) -> None:
    assert verdict.weakness == (weak and f"retrieval is weak here: {weak}")
    assert Verdict.from_json({**verdict.to_json(), "of a later version": 1}) == verdict


def test_the_advice_fits_the_model() -> None:
    worse = report(FAIR, POOR, GOOD)
    assert "--epochs" in worse.advice
    on_trunk = dataclasses.replace(worse, on_trunk=True)
    assert "--epochs" not in on_trunk.advice
    assert "--trunk none" in on_trunk.advice
    frozen = dataclasses.replace(
        worse, scores=[*worse.scores[:2], dataclasses.replace(worse.scores[2], name="frozen trunk")]
    )
    assert "--trunk photos" in frozen.advice
