"""The verdict: better, worse, or perhaps chance."""

import numpy as np

from retrieval.evaluate.report import Report
from retrieval.evaluate.scoring import LabelScores, Scores


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
    assert found.best.name == "raw pixels"
    assert found.verdict == (
        f"learning helped: P@1 {GOOD.mean():.4f} against {FAIR.mean():.4f} by raw pixels, the best baseline"
    )


def test_worse_than_one_baseline() -> None:
    found = report(FAIR, POOR, GOOD)
    assert found.helped is False
    assert found.verdict.startswith("learning did not help: P@1 ")
    assert "by PCA" in found.verdict


def test_a_difference_that_may_be_chance() -> None:
    nearly = FAIR.copy()
    nearly[:3] ^= True
    assert report(nearly, FAIR, POOR).helped is None
    assert report(FAIR, FAIR, FAIR).helped is None
    assert report(FAIR, FAIR, POOR).verdict.startswith("no clear difference: ")


def test_without_labels_copies_decide() -> None:
    found = report(GOOD, FAIR, POOR, labels=False)
    assert found.helped is True
    assert "copies that find their original" in found.verdict
