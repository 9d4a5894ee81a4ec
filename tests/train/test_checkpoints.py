"""A run that was interrupted or killed ends with the same weights as one that was not."""

import gc
import subprocess
import sys
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from flax import nnx
from jaxtyping import UInt8

from retrieval.errors import TrainingError
from retrieval.model.autoencoder import build
from retrieval.train import checkpoints
from retrieval.train.checkpoints import RunState
from retrieval.train.loop import Progress, TrainResult, train
from retrieval.train.optimiser import make_optimiser
from retrieval.train.step import TrainState
from tests.errors import raises
from tests.train.samples import CONFIG, file_size_limit, recipe
from tests.train.test_loop import untimed, weight_bytes

DEADLINE = 120
"""Seconds for a child process to reach its first checkpoint."""


class Interrupted(Exception):
    pass


@cache
def some_state(value: float = 1, dim: int = 4, step: int = 3) -> RunState:
    """A small network's, its weights and numbers multiplied by a value; to be read only."""
    _, whole = build(replace(CONFIG, dim=dim), seed=0)
    params = nnx.filter_state(whole, nnx.Param)
    train_state = TrainState(params, make_optimiser(params).init(params))
    state = RunState(
        *(
            jax.tree.map(lambda leaf: np.asarray(leaf) * np.asarray(leaf).dtype.type(value), t)
            for t in (train_state, params)
        )
    )
    state.step, state.seconds, state.best_loss, state.best_step = step, 2.5 * value, 0.5, 2
    state.history = [{"step": 3, "loss": value}]
    return state


def test_interrupted_and_resumed_equals_uninterrupted(
    images: UInt8[np.ndarray, "n h w c"], trained: TrainResult, tmp_path: Path
) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.step == 9:
            raise Interrupted

    with pytest.raises(Interrupted):
        train(images, recipe(), tmp_path, interrupt)
    assert checkpoints.saved_steps(tmp_path / checkpoints.run_name(recipe(), images)) == [6]

    reports: list[Progress] = []
    resumed = train(images, recipe(), tmp_path, reports.append)
    assert [(p.step, p.resumed) for p in reports if not p.compiling] == [(9, True), (12, True)]
    assert weight_bytes(resumed) == weight_bytes(trained)
    assert untimed(resumed.metrics) == untimed(trained.metrics)
    assert [untimed(line) for line in resumed.history] == [untimed(line) for line in trained.history]
    assert resumed.checkpoints == tmp_path / checkpoints.run_name(recipe(), images)
    checkpoints.delete(resumed.checkpoints)
    assert list(tmp_path.iterdir()) == []


def test_complete_but_not_saved_is_complete_again(
    images: UInt8[np.ndarray, "n h w c"], trained: TrainResult, tmp_path: Path
) -> None:
    train(images, recipe(), tmp_path)  # and then, say, the disk was full
    reports: list[Progress] = []
    again = train(images, recipe(), tmp_path, reports.append)
    assert all(p.compiling for p in reports)
    assert weight_bytes(again) == weight_bytes(trained)
    assert untimed(again.metrics) == untimed(trained.metrics)


def test_the_old_names_of_metrics_are_read(tmp_path: Path) -> None:
    state = some_state()
    state.history = [{"step": 3, "agreement": 1.0, "spread": 2.0, "correlation": 3.0}]
    checkpoints.save(tmp_path / "run", state)
    restored = checkpoints.restore(tmp_path / "run", some_state())
    assert restored is not None
    assert restored.history == [{"step": 3, "invariance": 1.0, "variance": 2.0, "covariance": 3.0}]


def test_checkpoints_left_half_removed_are_not_resumed_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints.save(tmp_path / "run", some_state())
    monkeypatch.setattr("shutil.rmtree", lambda folder, ignore_errors: None)  # killed before it removed anything
    checkpoints.delete(tmp_path / "run")
    assert checkpoints.restore(tmp_path / "run", some_state()) is None


def test_killed_and_resumed_equals_uninterrupted(
    images: UInt8[np.ndarray, "n h w c"], trained: TrainResult, tmp_path: Path, xla_cache: Path
) -> None:
    folder = tmp_path / checkpoints.run_name(recipe(), images)
    command = [sys.executable, "-m", "tests.train.samples", str(tmp_path), str(xla_cache)]
    repository = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=repository, stdin=subprocess.PIPE) as child:
        try:
            deadline = time.monotonic() + DEADLINE
            while not checkpoints.saved_steps(folder):
                assert child.poll() is None, "the run ended before it could be killed"
                assert time.monotonic() < deadline, "no checkpoint in time"
                time.sleep(0.005)
        finally:
            child.kill()
    assert child.returncode == -9

    reports: list[Progress] = []
    resumed = train(images, recipe(), tmp_path, reports.append)
    assert all(p.resumed for p in reports if not p.compiling)
    assert weight_bytes(resumed) == weight_bytes(trained)
    assert untimed(resumed.metrics) == untimed(trained.metrics)


def test_a_state_round_trips_and_older_checkpoints_are_deleted(tmp_path: Path) -> None:
    checkpoints.save(tmp_path / "run", some_state(1))
    checkpoints.save(tmp_path / "run", some_state(2, step=12))
    assert sorted(entry.name for entry in (tmp_path / "run").iterdir()) == ["12", "12.json"]
    loaded, saved = checkpoints.restore(tmp_path / "run", some_state()), some_state(2, step=12)
    assert loaded is not None
    for mine, theirs in zip(
        jax.tree.leaves(checkpoints.to_tree(loaded)), jax.tree.leaves(checkpoints.to_tree(saved)), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)
    assert (loaded.step, loaded.seconds, loaded.best_loss, loaded.best_step) == (12, 5, 0.5, 2)
    assert loaded.history == saved.history


def test_nothing_to_resume(tmp_path: Path) -> None:
    assert checkpoints.restore(tmp_path / "never", some_state()) is None


def test_a_half_written_checkpoint_is_ignored(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, some_state())
    half = tmp_path / "6.orbax-checkpoint-tmp"
    half.mkdir()
    (half / "manifest.ocdbt").write_bytes(b"half")
    loaded = checkpoints.restore(tmp_path, some_state())
    assert loaded is not None
    assert loaded.step == 3
    checkpoints.save(tmp_path, some_state(step=6))  # the same step, now done properly
    assert checkpoints.saved_steps(tmp_path) == [6]


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, some_state())
    for file in (tmp_path / "3").rglob("*"):
        if file.is_file():
            file.write_bytes(b"damaged")
    with raises(TrainingError, tmp_path / "3", "damaged", hint=str(tmp_path)):
        checkpoints.restore(tmp_path, some_state())


def test_a_checkpoint_from_another_config_is_named(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, some_state())
    with raises(TrainingError, tmp_path / "3", "network", hint=str(tmp_path)):
        checkpoints.restore(tmp_path, some_state(dim=5))


# Orbax leaves the tasks of a failed write to the garbage collector, which complains of each.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_ends_the_run_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    checkpoints.save(tmp_path, some_state())
    with file_size_limit(1000), raises(TrainingError, tmp_path / "6", hint=""):
        checkpoints.save(tmp_path, some_state(np.pi, step=6))
    gc.collect()
    assert checkpoints.saved_steps(tmp_path) == [3]
    assert checkpoints.restore(tmp_path, some_state()) is not None


def test_too_little_disk_space_is_reported_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints.save(tmp_path, some_state())
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2**20))
    with raises(TrainingError, tmp_path, "1 MiB", hint=""):
        checkpoints.save(tmp_path, some_state(step=6))
    assert checkpoints.saved_steps(tmp_path) == [3]


def test_only_the_same_recipe_and_images_are_resumed(images: UInt8[np.ndarray, "n h w c"]) -> None:
    changed = images.copy()
    changed[0, 0, 0, 0] ^= 1
    names = {
        checkpoints.run_name(recipe(), images),
        checkpoints.run_name(recipe(), changed),
        checkpoints.run_name(recipe(), images[::-1]),
        checkpoints.run_name(recipe(epochs=5), images),
        checkpoints.run_name(recipe(seed=1), images),
    }
    assert len(names) == 5
    assert checkpoints.run_name(recipe(), images.copy()) in names
