"""An ingest on a real local Ray of two workers: the same points, ledger and counts, whoever is killed meanwhile."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from retrieval.schema.records import Point, point_id
from tests.cli.conftest import SECONDS, Call, finished
from tests.ingest.conftest import DIGITS
from tests.ingest.jobs import Place, is_locked, make_digits, same_points, until

RAY = ("--runner", "ray", "--workers", 2)
GONE, COPIES = 5, 3
COUNTS = ("found", "encoded", "unchanged", "copied", "deleted", "failed")

pytestmark = pytest.mark.parametrize("place", ["server"], indirect=True)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Digits in folders, some of them twice, and a file that is not an image."""
    root = make_digits(tmp_path / "digits", 1200)
    some = sorted(root.rglob("*.png"))[:COPIES]
    for number, file in enumerate(some):
        (root / f"copy-{number}.png").write_bytes(file.read_bytes())
    (root / "bad.png").write_bytes(b"no picture")
    return root


@pytest.mark.long
def test_the_same_as_one_process(place: Place, pictures: Path, call: Call, tmp_path: Path) -> None:
    alone = Place(place.home, place.url, f"{place.alias}-alone")
    errors = tmp_path / "errors.jsonl"
    mine = place.ingest(pictures, "--labels", "folder", "--json", "--errors", errors, *RAY)
    theirs = call("ingest", pictures, "--labels", "folder", "--json", *alone.options())
    assert (mine.code, theirs.code) == (3, 3), mine.err
    assert mine.err == theirs.err, "Ray says nothing of its own"
    assert [mine.object[name] for name in COUNTS] == [theirs.object[name] for name in COUNTS]
    assert mine.object["copied"] == COPIES
    assert mine.object["refused"] == theirs.object["refused"]
    assert '"path": "bad.png"' in errors.read_text()
    same_points(place.points(), alone.points())
    assert not is_locked(place)

    gone = sorted(pictures.rglob("*.png"))[100 : 100 + GONE]
    for file in gone:
        file.unlink()
    os.utime(pictures / "copy-0.png")
    again = place.ingest(pictures, "--labels", "folder", "--json", "--prune", *RAY)
    assert again.code == 3, again.err
    expected = {"encoded": 0, "copied": 0, "deleted": GONE, "failed": 1, "unchanged": 1200 + COPIES - GONE}
    assert {name: again.object[name] for name in expected} == expected
    left = place.points()
    assert not {point_id("digits", str(file.relative_to(pictures))) for file in gone} & left.keys()
    assert len(left) == 1200 + COPIES - GONE


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """The address of a Ray cluster that runs already."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = (
        "--head",
        "--block",
        f"--port={port}",
        "--num-cpus=2",
        "--include-dashboard=false",
        "--disable-usage-stats",
    )
    said = tmp_path / "ray.log"
    with tempfile.TemporaryDirectory(dir="/tmp") as short, said.open("w") as log, ExitStack() as last:  # for sockets
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *options, f"--temp-dir={short}"]
        process = last.enter_context(subprocess.Popen(command, stdout=log, stderr=log, text=True))
        last.callback(process.terminate)
        until(lambda: "Ray runtime started" in said.read_text(), process)
        yield f"127.0.0.1:{port}"


@pytest.mark.long
def test_a_ray_cluster_that_runs_already(
    place: Place,
    cluster: str,
    digits: Path,
    uninterrupted: dict[str, Point],
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ray = ("--runner", "ray", "--address", cluster)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")  # `ray start` has made one, in a file that Ray finds
    assert place.ingest(digits, "--json", *ray).object["encoded"] == DIGITS
    before = place.points()
    same_points(before, uninterrupted)
    told = call("reindex", "--json", *place.options(), *ray).object
    assert told["collection"] != told["previous"]
    same_points(place.points(), before)


@pytest.mark.long
def test_a_worker_is_killed(place: Place, digits: Path, uninterrupted: dict[str, Point]) -> None:
    with place.started(digits, "--json", "--batch-size", 16, *RAY) as process:
        until(lambda: place.stored > 0 and bool(workers(place)), process)
        killed = workers(place)[0]
        os.kill(killed, signal.SIGKILL)
        before = place.stored
        done = finished(process)
    assert before < DIGITS, "it was to be killed in the middle"
    assert done.code == 0, done.err
    assert done.object["found"] == DIGITS
    assert done.object["encoded"] + done.object["unchanged"] == DIGITS, "what it had stored counts as there already"
    same_points(place.points(), uninterrupted)
    nothing_runs(place)


@pytest.mark.long
def test_the_command_is_killed(place: Place, digits: Path, uninterrupted: dict[str, Point], call: Call) -> None:
    with place.started(digits, "--json", "--batch-size", 16, *RAY) as process:
        until(lambda: place.stored > 0, process)
        process.kill()
        finished(process)
    nothing_runs(place)
    stored = place.stored
    assert stored > 0
    said = call("ingest", digits, "--json", *place.options()).object
    assert said["unchanged"] == stored
    same_points(place.points(), uninterrupted)


def test_what_makes_no_sense(place: Place, digits: Path, call: Call) -> None:
    alone = call("ingest", digits, *place.options(), "--address", "somewhere:6379")
    alone.error(2, "somewhere:6379", "--runner ray", option="--address")
    away = call("ingest", digits, *place.options(), "--runner", "ray", "--address", "127.0.0.1:1")
    away.error(2, "127.0.0.1:1", option="--address")
    call("ingest", digits, "--runner", "ray").error(2, "QDRANT_URL", option="--runner")


def processes(place: Place) -> dict[int, str]:
    """Ray's processes of the place's home: pid → command line."""
    mark, found = f"RETRIEVAL_HOME={place.home}".encode(), {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (folder / "environ").read_bytes().split(b"\0"):
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
    return found


def is_server(command: str) -> bool:
    """Qdrant, which a test may have started in the place's environment."""
    return command.partition(" ")[0].endswith("/qdrant")


def workers(place: Place) -> list[int]:
    """Processes of Ray's actors."""
    return [number for number, command in processes(place).items() if "ray::Actor" in command]


def nothing_runs(place: Place) -> None:
    """All of Ray's processes end with the command that started them."""
    end = time.monotonic() + SECONDS
    while left := {n: c for n, c in processes(place).items() if n != os.getpid() and not is_server(c)}:
        assert time.monotonic() < end, left
        time.sleep(0.1)
