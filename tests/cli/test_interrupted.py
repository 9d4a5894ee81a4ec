"""Ctrl-C and kill -9 in the middle of the work: no traceback, nothing lost, and a rerun ends where it should."""

import importlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import SECONDS, Call, Trained, copy, done_well, environment, finished, points
from tests.conftest import made_once
from tests.processes import RETRIEVAL, Process

DIGITS = 4000
"""In mnist-sample:train; eight windows of ingest."""

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


@pytest.fixture(autouse=True, scope="module")
def heed_ctrl_c() -> Iterator[None]:
    """A test run in the background ignores Ctrl-C, and what it starts would inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def stop_when(condition: Callable[[], bool], how: int, home: Path, *arguments: object) -> tuple[int, str]:
    """Start `retrieval` and send it a signal once the condition holds; returns its exit code and stderr."""
    with Process(RETRIEVAL, *arguments, environment=environment(home)) as process:
        end = time.monotonic() + SECONDS
        while not condition():
            assert process.poll() is None, "it was over before it could be stopped"
            assert time.monotonic() < end
            time.sleep(0.001)
        process.send_signal(how)
        done = finished(process)
        return done.code, done.err


def stored(home: Path) -> int:
    """Points that the embedded home's one collection has acknowledged, -1 before there is a collection."""
    for manifest in (home / "embedded" / "collections").glob("images-*/manifest.json"):
        return int(json.loads(manifest.read_text())["count"])
    return -1


@pytest.fixture(scope="module")
def uninterrupted(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    """Id → code of all digits, ingested in one go."""

    def make(folder: Path) -> None:
        done_well("ingest", "mnist-sample:train", home=copy(trained.home, folder / "home"))

    home = made_once(tmp_path_factory, "uninterrupted", make) / "home"
    mine = copy(home, tmp_path_factory.mktemp("whole") / "home")
    return {id_: point.code for id_, point in points(mine).items()}


def same_points(home: Path, expected: dict[str, np.ndarray]) -> None:
    found = points(home)
    assert found.keys() == expected.keys()
    for id_, code in expected.items():
        np.testing.assert_allclose(found[id_].code, code, atol=1e-4)


def goes_on(call: Call, stored_before: int) -> None:
    """A rerun keeps what was stored and adds the rest."""
    said = call("ingest", "mnist-sample:train", "--json").object
    assert said["found"] == said["encoded"] + said["copied"] + said["unchanged"] == DIGITS
    assert said["unchanged"] >= stored_before


@pytest.mark.parametrize("moment", [-1, 512, 2048])
def test_ingest_killed(moment: int, trained_home: Path, uninterrupted: dict[str, np.ndarray], call: Call) -> None:
    def reached() -> bool:
        if moment < 0:  # it holds the folder, no more
            return (trained_home / "embedded" / "holder.json").exists()
        return stored(trained_home) >= moment

    code, _ = stop_when(reached, signal.SIGKILL, trained_home, "ingest", "mnist-sample:train")
    assert code == -signal.SIGKILL
    before = max(0, stored(trained_home))
    assert moment <= before < DIGITS, "it was to be killed in the middle"
    goes_on(call, before)
    same_points(trained_home, uninterrupted)


def test_ingest_stopped_by_ctrl_c(trained_home: Path, uninterrupted: dict[str, np.ndarray], call: Call) -> None:
    code, err = stop_when(
        lambda: stored(trained_home) >= 512, signal.SIGINT, trained_home, "ingest", "mnist-sample:train"
    )
    assert code == 130
    assert "Traceback" not in err
    assert 512 <= stored(trained_home) < DIGITS
    assert not (trained_home / "embedded" / "holder.json").exists()
    goes_on(call, 512)
    same_points(trained_home, uninterrupted)


@pytest.mark.long
def test_training_stopped_by_ctrl_c_goes_on_to_the_same_model(own_home: Path, pictures: Path) -> None:
    job = ("train", pictures, "--preset", "tiny", "--image-size", 8, "--dim", 4, "--epochs", 125)
    whole = own_home.parent / "whole"
    expected = done_well(*job, "--json", home=whole).object["fingerprint"]
    copy(whole / "cache", own_home / "cache")  # what is compiled

    def checkpointed() -> list[Path]:
        return [f for f in (own_home / "checkpoints").glob("*/*") if f.name.isdigit()]

    code, err = stop_when(lambda: bool(checkpointed()), signal.SIGINT, own_home, *job)
    assert code == 130
    assert "Traceback" not in err
    assert checkpointed()
    assert done_well(*job, "--json", home=own_home).object["fingerprint"] == expected
    assert not checkpointed()


def test_ctrl_c_while_a_command_is_imported(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: str) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(importlib, "import_module", interrupt)
    done = call("status")
    assert (done.code, done.out, done.err.count("\n")) == (130, "", 1)
