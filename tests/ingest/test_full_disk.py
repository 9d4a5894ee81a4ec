"""A disk that fills up under either engine: writes are refused in time, and nothing is damaged."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from retrieval.errors import StoreUnavailable
from retrieval.schema.records import Point
from tests.cli.conftest import Call, copy, finished
from tests.conftest import need
from tests.errors import raises
from tests.ingest.conftest import ALIAS, DIGITS
from tests.ingest.jobs import Place, same_points, until
from tests.store import servers
from tests.store.conftest import connected, meta

PUBLIC = "http://127.0.0.1:1"
MOUNT = 'mount -t tmpfs -o size=600m none "$0" && echo mounted && exec cat'


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 600 MB, in a namespace of its own: it needs no root and disappears with the process."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", MOUNT, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        need(holder.stdout.readline() == "mounted\n", "leave to mount a disk of its own (unshare)", root=True)
        yield Path(f"/proc/{holder.pid}/root{folder}")
        assert holder.stdin
        holder.stdin.close()


def leave(disk: Path, megabytes: int) -> None:
    """Fill the disk except for this much."""
    filler = disk / "filler"
    filler.touch()
    room = shutil.disk_usage(disk).free + filler.stat().st_size - megabytes * 2**20
    with filler.open("r+b") as file:
        file.truncate(min(room, filler.stat().st_size))  # so that no space is freed for a moment
        os.posix_fallocate(file.fileno(), 0, room)


def test_a_disk_that_fills_up(
    disk: Path, digits: Path, uninterrupted: dict[str, Point], model_home: Path, call: Call
) -> None:
    place = Place(copy(model_home, disk / "home"), None, ALIAS)
    leave(disk, 200)
    place.ingest(digits).error(1, place.home, "MiB", "RETRIEVAL_HOME")
    assert place.stored == -1
    leave(disk, 400)
    with place.started(digits, "--batch-size", 32) as process:
        until(lambda: place.stored >= DIGITS // 10, process)
        os.killpg(process.pid, signal.SIGSTOP)  # else it may be done before the disk is full
        leave(disk, 100)
        os.killpg(process.pid, signal.SIGCONT)
        finished(process).error(1, place.home, "MiB", "RETRIEVAL_HOME")
    before = place.stored
    assert DIGITS // 10 <= before < DIGITS
    found = place.points()
    assert len(found) == before
    same_points(found, {id_: point for id_, point in uninterrupted.items() if id_ in found})
    leave(disk, 0)
    place.ingest(digits).error()
    (disk / "filler").unlink()
    said = place.ingest(digits, "--json").object
    assert (said["unchanged"], said["encoded"]) == (before, DIGITS - before)
    same_points(place.points(), uninterrupted)


@pytest.mark.usefixtures("qdrant_binary")
def test_a_server_whose_disk_is_full(
    disk: Path, tmp_path: Path, digits: Path, uninterrupted: dict[str, Point], model_home: Path
) -> None:
    (disk / "qdrant").mkdir()
    with servers.running(disk / "qdrant") as url:
        place = Place(copy(model_home, tmp_path / "home"), url, ALIAS)
        assert place.ingest(digits).code == 0
        leave(disk, 20)
        place.ingest(digits, "--force").error(1, url, "disk is full", "make room")
        same_points(place.points(), uninterrupted)  # it can be searched
        with connected(url) as store:
            live = store.aliases()[ALIAS]
            (disk / "filler").unlink()
            store.create_collection("other", meta())
            leave(disk, 0)
            with raises(StoreUnavailable, url, "disk is full", hint="make room"):
                store.move_alias(ALIAS, "other")
            assert store.aliases()[ALIAS] in (live, "other"), "never missing"
            (disk / "filler").unlink()
            store.move_alias(ALIAS, live)
            assert place.ingest(digits, "--force", "--json").object["encoded"] == DIGITS
            same_points(place.points(), uninterrupted)
            leave(disk, 0)
            with raises(StoreUnavailable, url, "disk is full", hint="make room"):
                store.set_metadata(live, replace(store.metadata(live), public_url=PUBLIC))
            (disk / "filler").unlink()
        assert place.ingest(digits, "--public-url", PUBLIC).code == 0
        servers.kill(disk / "qdrant")
        port = url.rsplit(":", 1)[1]
        assert servers.qdrant("start", "--dir", str(disk / "qdrant"), "--http-port", port).returncode == 0
        with connected(url) as store:
            assert store.metadata(live).public_url == PUBLIC, "in the server's memory only"
