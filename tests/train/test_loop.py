"""Training: results depend only on the seed, the loss falls, and a run ends when it should."""

import math
from dataclasses import replace

import numpy as np
import pytest
from jaxtyping import UInt8

from retrieval.errors import TrainingError
from retrieval.model.autoencoder import to_flat
from retrieval.train import loop, optimiser
from retrieval.train.checkpoints import LogEntry
from retrieval.train.loop import BatchRows, Progress, RunClock, TrainResult, train
from tests.errors import raises
from tests.train.samples import blobs, recipe

TERMS = {"loss", "reconstruction", "invariance", "variance", "covariance"}
HEALTH = {"dead_dimensions", "reconstruction_error", "mean_image_error"}


def weight_bytes(trained: TrainResult) -> dict[str, bytes]:
    return {name: np.asarray(array).tobytes() for name, array in to_flat(trained.params).items()}


def untimed(numbers: dict[str, float]) -> dict[str, float]:
    """The results that depend only on the seed."""
    return {name: value for name, value in numbers.items() if name != "seconds"}


def test_the_same_seed_gives_the_same_bytes(images: UInt8[np.ndarray, "n h w c"], trained: TrainResult) -> None:
    reports: list[Progress] = []
    lines: list[LogEntry] = []
    again = train(images, recipe(), report=reports.append, log=lines.append)
    assert weight_bytes(again) == weight_bytes(trained)
    assert untimed(again.metrics) == untimed(trained.metrics)
    assert reports.pop(0).compiling
    assert [(p.step, p.done, p.resumed) for p in reports] == [(s, s / 12, False) for s in (3, 6, 9, 12)]
    assert all(p.images_per_second > 0 for p in reports)
    assert again.metrics["seconds"] > 0
    assert again.history == lines
    assert [line["step"] for line in lines] == [3, 6, 9, 12]


def test_the_loss_falls_and_the_dimensions_become_active(
    images: UInt8[np.ndarray, "n h w c"], trained: TrainResult
) -> None:
    longer = train(images, recipe(epochs=40)).metrics
    assert longer["loss"] < trained.metrics["loss"] - 0.3
    assert longer["reconstruction"] < trained.metrics["reconstruction"]
    assert longer["variance"] < trained.metrics["variance"]
    assert longer["reconstruction_error"] < 0.9 * longer["mean_image_error"]


def test_another_seed_gives_other_weights(images: UInt8[np.ndarray, "n h w c"], trained: TrainResult) -> None:
    other = weight_bytes(train(images, recipe(seed=1)))
    assert all(other[name] != value for name, value in weight_bytes(trained).items() if value.strip(b"\0"))


@pytest.mark.parametrize(("count", "batch"), [(45, 32), (64, 32), (100, 32), (32, 32)])
def test_an_epoch_uses_every_image_once(count: int, batch: int) -> None:
    learned = np.arange(count) * 2
    rows = BatchRows(learned, batch, seed=3)
    drawn = np.concatenate([rows(step) for step in range(2 * count)])
    assert len(drawn) == 2 * count * batch
    epochs = drawn.reshape(-1, count)
    assert (np.sort(epochs, axis=1) == learned).all()
    assert (epochs[0] != epochs[1]).any()
    np.testing.assert_array_equal(BatchRows(learned, batch, seed=3)(7), drawn[7 * batch : 8 * batch])  # resumed


def test_epochs_are_passes_also_when_batches_do_not_divide_them() -> None:
    metrics = train(blobs(45), recipe(epochs=4)).metrics
    assert (metrics["epochs"], metrics["step"]) == (4, math.ceil(4 * 45 / 32))


def test_metrics_are_the_means_of_the_last_round(trained: TrainResult) -> None:
    assert trained.metrics.keys() == TERMS | HEALTH | {"epochs", "step", "seconds"}
    assert trained.metrics["loss"] == pytest.approx(sum(trained.metrics[name] for name in TERMS - {"loss"}), rel=1e-5)
    assert (trained.metrics["epochs"], trained.metrics["step"]) == (4, 12)
    assert trained.history[-1].items() <= {**trained.metrics, "seconds": trained.history[-1]["seconds"]}.items()


def test_each_step_uses_the_scheduled_learning_rate(
    images: UInt8[np.ndarray, "n h w c"], monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[float] = []

    def rate(share: float) -> float:
        shares.append(share)
        return 0.01

    monkeypatch.setattr(loop, "learning_rate", rate)
    train(images, recipe(epochs=2))
    assert shares == pytest.approx([n / 6 for n in range(6)])


def test_the_learning_rate_rises_and_falls() -> None:
    rates = [optimiser.learning_rate(share) for share in np.linspace(0, 1, 101).tolist()]
    assert [rates[0], rates[-1]] == pytest.approx([0, 0], abs=1e-9)
    top = int(np.argmax(rates))
    assert rates[top] == pytest.approx(optimiser.LEARNING_RATE)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


class Clock:
    """Replaces `time`: each call advances it by a number of seconds."""

    def __init__(self, tick: float) -> None:
        self.now, self.tick = 1000.0, tick

    def monotonic(self) -> float:
        self.now += self.tick
        return self.now


def test_a_budget_ends_a_run_that_would_go_on(
    images: UInt8[np.ndarray, "n h w c"], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(0.02)
    monkeypatch.setattr(loop, "time", clock)
    monkeypatch.setattr(loop, "RunClock", lambda last, budget: RunClock(last, budget, started=clock.now))
    endless = replace(recipe(), epochs=None, budget=2.0)
    reports: list[Progress] = []
    trained = train(images, endless, report=reports.append)
    assert trained.metrics["step"] > 12
    assert 2.0 <= trained.metrics["seconds"] < 2.2
    assert reports[-1].done > 0.9
    assert [p.done for p in reports] == sorted(p.done for p in reports)
    assert train(images, replace(recipe(), budget=3600.0)).metrics["step"] == 12  # whichever ends first


def test_a_budget_used_up_by_the_setup_is_refused(images: UInt8[np.ndarray, "n h w c"]) -> None:
    with raises(TrainingError, "0.001 s", hint=""):
        train(images, replace(recipe(), epochs=None, budget=0.001))


def test_setup_does_not_count_as_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(0)
    monkeypatch.setattr(loop, "time", clock)
    run = RunClock(None, 10.0, started=clock.now)
    clock.now += 4
    run.begin()
    assert run.done(0) == 0
    clock.now += 3  # with six to go at the start
    assert run.done(99) == pytest.approx(0.5)
    assert run.seconds == pytest.approx(7)
    assert run.speed(30) == pytest.approx(10)
    assert RunClock(200, 10.0, started=clock.now).done(100) == 0.5


def test_a_small_collection_holds_nothing_out_and_a_large_one_a_twentieth(trained: TrainResult) -> None:
    assert "held_out" not in trained.metrics
    lines: list[LogEntry] = []
    train(blobs(1300), recipe(epochs=1), log=lines.append)
    assert all(np.isfinite(line["held_out"]) for line in lines)
    assert lines[-1]["step"] == math.ceil((1300 - 65) / 32)


def test_a_stalled_run_stops_with_its_best_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "PATIENCE", 2)
    monkeypatch.setattr(
        loop, "learning_rate", lambda share: 0.02 if share < 0.02 else -0.01
    )  # it learns, then unlearns
    trained = train(blobs(1300), recipe(epochs=20))
    held = [line["held_out"] for line in trained.history]
    best = int(np.argmin(held))
    assert trained.stopped_early
    assert len(held) == best + 1 + 2 < 20 * 38 / 3
    assert trained.metrics["step"] == trained.history[best]["step"]
    assert trained.metrics["held_out"] == min(held)
