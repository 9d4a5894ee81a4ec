"""`reindex`, `rollback`, `collections` and `jobs` as a user runs them, with real models and real pictures."""

import functools
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from retrieval.model import saved_models
from retrieval.model.saved_models import SavedModel
from retrieval.train import options
from tests.cli.conftest import Call, points
from tests.ingest.jobs import make_model

LOOSE = ("--max-drop", "100%")
"""For models that have learned little: this is not about how good they are."""


@pytest.fixture(autouse=True)
def niceness(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test run keeps its own."""
    monkeypatch.setattr(os, "nice", lambda by: by)


@pytest.fixture
def other(home: Path) -> SavedModel:
    """A second model, which is the default now."""
    return make_model(home, seed=8)


def default(home: Path) -> str:
    folder = saved_models.default(home / "models")
    assert folder is not None
    return saved_models.load(folder).fingerprint


def test_to_another_model_and_back(home: Path, other: SavedModel, call: Call, pictures: Path) -> None:
    before = call("status", "--json").object
    done = call("reindex", "--json", *LOOSE).object
    assert (done["outcome"], done["previous"], done["model"]) == ("swapped", before["collection"], other.fingerprint)
    assert (done["found"], done["encoded"] + done["copied"], done["failed"]) == (200, 200, 0)
    rows = {row["check"]: row for row in done["gate"]}
    assert rows["copies found"]["live"] > 0
    assert rows["P@5"]["live"] > 0.5
    assert {point.code.shape for point in points(home).values()} == {(other.config.dim,)}
    query = next(pictures.rglob("*.png"))
    (hits,) = (line["hits"] for line in call("search", query, "--include-self", "--json").objects)
    assert hits[0]["distance"] < 1e-3
    assert (default(home), call("status", "--json").object["model"]) == (other.fingerprint, other.fingerprint)

    back = call("rollback", "--json").object
    assert (back["collection"], back["left"], back["points"]) == (before["collection"], done["collection"], 200)
    assert default(home) == before["model"], "model and alias together"
    (hits,) = (line["hits"] for line in call("search", query, "--include-self", "--json").objects)
    assert hits[0]["distance"] < 1e-3
    assert call("ingest", pictures, "--json").object["unchanged"] == 200

    listed = {row["collection"]: row for row in call("collections", "--json").object["collections"]}
    assert listed[before["collection"]]["aliases"] == ["images"]
    assert listed[done["collection"]]["state"] == "rolled-back"
    assert listed[done["collection"]]["evaluation"]["finds_itself"] == 1
    assert "live" in call("collections").out
    assert call("collections", "--prune", "--json").object["dropped"] == [done["collection"]]
    jobs = call("jobs", "--json").objects
    assert [job["job"] for job in jobs] == ["ingest", "rollback", "reindex", "ingest"]
    assert jobs[2]["gate"] == done["gate"]
    call("rollback").error(1, "images", before["collection"], "retrieval reindex --model MODEL")


def test_a_model_that_says_the_same_of_all_images(home: Path, call: Call, tmp_path: Path) -> None:
    good = default(home)
    model = saved_models.load(saved_models.find(home / "models", None))
    blank = {name: np.zeros_like(array) for name, array in model.weights.items()}
    bad = saved_models.save(home / "models", model.config, blank, {}, reconstructions=b"")
    live = call("status", "--json").object["collection"]
    metrics = tmp_path / "reindex.prom"
    refused = call("reindex", "--model", bad.fingerprint, "--metrics-file", metrics, *LOOSE)
    refused.error(5, live)
    assert "NO" in refused.err
    assert 'retrieval_reindex_exit_code{alias="images"} 5.0' in metrics.read_text()
    status = call("status", "--json").object
    assert (status["collection"], status["points"], default(home)) == (live, 200, good)
    job = call("jobs", "--json").objects[0]
    assert (job["outcome"], job["exit_code"], job["previous"]) == ("refused", 5, live)
    assert any(row["passed"] is False for row in job["gate"])


def test_a_model_that_is_worse(home: Path, other: SavedModel, call: Call) -> None:
    """The one before was trained, if only for an epoch; the other not at all."""
    call("reindex").error(5, "copies found")


def test_a_model_trained_for_it(home: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    old = default(home)
    monkeypatch.setattr(options, "TrainOptions", functools.partial(options.TrainOptions, epochs=1, seed=5))
    done = call("reindex", "--train", "--json", *LOOSE).object
    assert done["model"] == default(home) != old
    shape = [
        saved_models.load(saved_models.folder_of(home / "models", mark) or Path()).config
        for mark in (old, done["model"])
    ]
    assert shape[0] == shape[1], "the same kind of model, on today's images"


def test_what_is_not_due(home: Path, call: Call, pictures: Path) -> None:
    assert "nothing to do: it is younger" in call("reindex", "--if-older-than", "24h").out
    assert "nothing to do: model and images" in call("reindex", "--if-changed").out
    assert call("reindex", "--train", "--if-changed", "--json").object["outcome"] == "unchanged"
    checked = call("reindex", "--dry-run")
    assert (checked.code, "passed the gate" in checked.out) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["--train", "--model", "abcd"], 2, ["--train", "--model abcd"]),
        (["--model", "abcd"], 1, ["--model", "abcd"]),
        (["--alias", "none"], 1, ["'none'", "retrieval ingest SOURCE --alias none"]),
        (["--min-recall", "2"], 2, ["--min-recall", "2"]),
        (["--if-older-than", "soon"], 2, ["--if-older-than", "soon"]),
    ],
)
def test_what_makes_no_sense(arguments: list[str], code: int, named: list[str], home: Path, call: Call) -> None:
    call("reindex", *arguments).error(code, *named)


def test_a_source_that_has_gone(trained_home: Path, folder: Path, call: Call) -> None:
    assert call("ingest", folder).code == 0
    shutil.rmtree(folder)
    call("reindex").error(1, folder, "no such file or folder", "retrieval forget")
    assert call("status", "--json").object["points"] == 200
