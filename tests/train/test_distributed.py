"""Two processes train the same model as one; when one is lost, the other reports it and the run can resume."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from retrieval.config import Settings
from retrieval.errors import TrainingError, UsageError
from retrieval.images.decode import encode_png
from retrieval.model import saved_models
from retrieval.sources import open_source
from retrieval.train.checkpoints import saved_steps
from retrieval.train.job import train_and_save
from retrieval.train.options import TrainOptions
from retrieval.train.step import count_devices
from retrieval.train.types import Hosts, Objective
from tests.errors import mentions, raises
from tests.train.samples import OFTEN, blobs

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")

DEVICES = 2
"""Of each process."""
SECONDS = 120
EPOCHS = 30
"""Of one step each: enough to be killed twice in the middle."""
OBJECTIVE: Objective = "denoising"
"""Half the work of the default one; the norm layers' statistics are those of the whole batch all the same."""
COMPARED = 4
"""Rounds whose losses must be the same: later ones drift apart, since sums are taken in another order."""

COMMAND = (
    "from retrieval.cli import main; from retrieval.cli.commands import train_child;"
    " train_child.CHILD = 'from retrieval.train import distributed, loop;"
    f" loop.ROUND_STEPS = loop.REPORT_STEPS = {OFTEN}; distributed.DEADLINE = {{deadline}};"
    " distributed.HEARTBEAT = 20; ' + train_child.CHILD; main()"
)
"""`retrieval`, but for its patience and for how often a checkpoint is written."""


class Pair:
    """Runs of `retrieval train` in one home, whose processes are stopped at the end of the test at the latest."""

    def __init__(self, home: Path, image_folder: Path) -> None:
        self.home, self.image_folder = home, image_folder
        self.running: list[subprocess.Popen[str]] = []

    def start(self, *processes: int, odd: Path | None = None, deadline: int = 60) -> None:
        """Start these processes of two; odd: what process 1 reads in place of the images."""
        with socket.create_server(("127.0.0.1", 0)) as found:
            port = found.getsockname()[1]
        flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={DEVICES}"
        self.running = [
            subprocess.Popen(
                [
                    *(sys.executable, "-c", COMMAND.format(deadline=deadline)),
                    *("train", str((odd if process else None) or self.image_folder), "--json"),
                    *("--objective", OBJECTIVE, "--dim", "4", "--preset", "tiny", "--epochs", str(EPOCHS)),
                    *("--coordinator", f"127.0.0.1:{port}", "--processes", "2", "--process", str(process)),
                ],
                env={**os.environ, "RETRIEVAL_HOME": str(self.home), "XLA_FLAGS": flags},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for process in processes
        ]

    def end(self) -> list[tuple[int, str, str]]:
        """Exit code, stdout and stderr of each that was started."""
        return [(process.wait(), *read) for process in self.running if (read := process.communicate(timeout=SECONDS))]

    def errors(self) -> list[str]:
        """The last thing each says on stderr, once it is certain that all ended as they should: with code 1.

        A second line there may be when JAX ends a process that has just said the same itself.
        """
        ended = self.end()
        assert [(code, out) for code, out, _ in ended] == [(1, "")] * len(ended), ended
        for _, _, err in ended:
            assert [line[:6] for line in err.splitlines()] in (["error:"], ["error:"] * 2)
        return [err.splitlines()[-1] for _, _, err in ended]

    def checkpoint(self) -> int:
        """The step of the newest checkpoint, 0 for none."""
        return max((step for run in (self.home / "checkpoints").glob("*") for step in saved_steps(run)), default=0)

    def kill(self, process: int) -> str:
        """`kill -9` one of the two once there is a new checkpoint; returns what the other says."""
        before, deadline = self.checkpoint(), time.monotonic() + SECONDS
        while self.checkpoint() <= before:
            assert [p.poll() for p in self.running] == [None, None], self.end()
            assert time.monotonic() < deadline, "no checkpoint in time"
            time.sleep(0.005)
        lost = self.running.pop(process)
        lost.kill()
        lost.communicate()
        (error,) = self.errors()
        return error


@pytest.fixture(scope="module")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number, image in enumerate(blobs()):
        (folder / f"{number:02}.png").write_bytes(encode_png(image))
    return folder


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of all runs: what the first has compiled, the others need not compile."""
    return tmp_path_factory.mktemp("hosts")


@pytest.fixture
def pair(home: Path, image_folder: Path) -> Iterator[Pair]:
    pair = Pair(home, image_folder)
    yield pair
    for process in pair.running:
        process.kill()
        process.communicate()


@pytest.fixture(scope="module")
def together(home: Path, image_folder: Path) -> list[dict[str, Any]]:
    """The output of two processes in an undisturbed run."""
    pair = Pair(home, image_folder)
    pair.start(0, 1)
    ended = pair.end()
    assert [code for code, _, _ in ended] == [0, 0], ended
    return [json.loads(out) for _, out, _ in ended]


def lines(model: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (model / "training.jsonl").read_text().splitlines()]


@pytest.mark.long
def test_two_processes_give_the_losses_of_one(
    together: list[dict[str, Any]], image_folder: Path, own_home: Path
) -> None:
    settings = Settings(home=own_home)
    options = TrainOptions(objective=OBJECTIVE, dim=4, preset="tiny", epochs=EPOCHS)
    alone, _ = train_and_save([open_source(str(image_folder), settings)], settings, options)
    one, two = (lines(folder)[:COMPARED] for folder in (alone.path, Path(together[0]["model"])))
    assert [line["step"] for line in two] == [OFTEN * (number + 1) for number in range(COMPARED)]
    assert [line["loss"] for line in two] == pytest.approx([line["loss"] for line in one], rel=1e-4)


def test_process_0_saves_the_model_and_the_others_say_the_same(together: list[dict[str, Any]], home: Path) -> None:
    first, second = together
    assert saved_models.default(home / "models") == Path(first.pop("model"))
    assert first["hardware"].startswith("4 × cpu in 2 processes, ")
    del first["fingerprint"]
    for said in (first, second):
        del said["seconds"], said["reading_seconds"]
    assert second == first


@pytest.mark.long
def test_when_one_process_is_killed_the_other_ends_and_the_run_can_resume(
    together: list[dict[str, Any]], pair: Pair
) -> None:
    for lost in (1, 0):
        pair.start(0, 1)
        error = pair.kill(lost)
        assert error.startswith(f"error: process {1 - lost} of 2 ")  # it has seen it, or JAX has, and ended it
        assert "again" in error

    assert 2 * OFTEN <= pair.checkpoint() < EPOCHS
    pair.start(0, 1)
    (code, out, err), second = pair.end()
    assert (code, second[0]) == (0, 0), err
    again = json.loads(out)
    names = ("step", "loss", "reconstruction_error")
    assert {name: again[name] for name in names} == {name: together[1][name] for name in names}
    assert lines(Path(again["model"]))[-1]["step"] == EPOCHS
    assert len(list((pair.home / "models").glob("*/weights.safetensors"))) == 1  # named by its weights


@pytest.mark.parametrize(("process", "absent"), [(0, "the other processes"), (1, "process 0")])
def test_a_process_that_waits_in_vain_times_out(process: int, absent: str, pair: Pair) -> None:
    pair.start(process, deadline=1)
    (error,) = pair.errors()
    assert [part for part in (f"process {process} of 2", absent, "127.0.0.1", "1 s") if not mentions(error, part)] == []


def test_all_processes_report_different_images(pair: Pair, image_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(image_folder, tmp_path / "images")
    (tmp_path / "images" / "00.png").unlink()
    pair.start(0, 1, odd=tmp_path / "images")
    first, second = pair.errors()
    assert first == second
    assert [part for part in ("process 1", "process 0") if not mentions(first, part)] == []


def test_a_batch_is_split_evenly_or_refused() -> None:
    assert [count_devices(32, 1, 8), count_devices(28, 1, 8), count_devices(32, 2, 8), count_devices(28, 2, 8)] == [
        8,
        4,
        8,
        2,
    ]
    with raises(TrainingError, 256, 3, hint="2"):
        count_devices(256, 3, 1)


@pytest.mark.parametrize("coordinator", ["host", ":1234", "host:", "host:0", "host:65536", "host:http", "host:-1"])
def test_bad_coordinators_are_refused(coordinator: str) -> None:
    with raises(UsageError, "HOST:PORT", coordinator, option="coordinator"):
        Hosts(coordinator, 2, 0)


def test_a_time_budget_is_refused() -> None:
    with raises(UsageError, option="time_budget", hint="epochs"):
        TrainOptions(budget=60, hosts=Hosts("[::1]:1234", 2, 1))
