"""An engine that is down, refuses, is held by somebody else, or holds less than it should."""

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import PICTURES, SECONDS, Call, command, environment, run
from tests.store import servers

KEY = "a-key-that-must-not-be-shown"


@pytest.fixture
def one(pictures: Path) -> Path:
    return next(pictures.glob("*/*.png"))


def test_a_server_that_is_down(trained_home: Path, one: Path, call: Call) -> None:
    with socket.socket() as bound:  # bound and not listening: nobody else can take the port
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        error = call("search", one, "--qdrant-url", url).error()
    assert url in error
    assert "QDRANT_URL" in error


@pytest.mark.parametrize("url", ["ftp://host", "nonsense", "http://", "http://me:secret@localhost"])
def test_a_url_that_is_none(url: str, call: Call) -> None:
    error = call("status", "--qdrant-url", url).error(2)
    assert "QDRANT_URL" in error
    assert "secret" not in error


def test_a_key_over_plain_http_never_leaves(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket.socket, "connect", never)
    monkeypatch.setattr(socket, "getaddrinfo", never)
    monkeypatch.setenv("QDRANT_API_KEY", KEY)
    done = call("status", "--qdrant-url", "http://qdrant.example.org:6333")
    error = done.error(2)
    assert "QDRANT_API_KEY" in error
    assert "qdrant.example.org" in error
    assert "https" in error
    assert KEY not in done.err


@pytest.fixture(scope="module")
def guarded(qdrant_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real server that wants a key."""
    with servers.running(tmp_path_factory.mktemp("guarded"), QDRANT__SERVICE__API_KEY=KEY) as url:
        yield url


@pytest.mark.parametrize("key", [None, "wrong-key"])
def test_a_wrong_key(
    key: str | None, guarded: str, trained_home: Path, pictures: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    if key:
        monkeypatch.setenv("QDRANT_API_KEY", key)
    error = call("ingest", pictures, "--qdrant-url", guarded).error()
    assert guarded in error
    assert "QDRANT_API_KEY" in error
    assert "wrong-key" not in error


def test_the_right_key(
    guarded: str, trained_home: Path, pictures: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", KEY)
    monkeypatch.setenv("QDRANT_URL", guarded)
    assert call("ingest", pictures, "--json").object["encoded"] == PICTURES
    said = call("status", "--json")
    assert said.object["points"] == PICTURES
    assert KEY not in said.out


def test_a_folder_that_another_process_holds(home: Path, one: Path, call: Call) -> None:
    hold = "import sys; from pathlib import Path; from retrieval.store.edge.folder import FolderLock;"
    hold += "lock = FolderLock(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read(); lock.release()"
    holder = subprocess.Popen(
        [sys.executable, "-c", hold, str(home / "embedded")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdin
    assert holder.stdout
    try:
        assert holder.stdout.readline() == b"held\n"
        error = call("search", one).error(4)
        assert f"pid {holder.pid}" in error
        assert str(home / "embedded") in error
    finally:
        holder.stdin.close()
        holder.wait(timeout=30)
        holder.stdout.close()
    assert call("search", one).code == 0


def test_a_pipe_that_is_closed_early(home: Path, pictures: Path) -> None:
    process = subprocess.Popen(
        command("search", pictures, "-k", 100), env=environment(home), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout
    assert process.stderr
    with process:
        assert process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) in (0, 1)


@pytest.mark.parametrize("name", ["search", "duplicates", "outliers"])
def test_a_page_is_written_though_nobody_reads_the_rest(name: str, home: Path, pictures: Path) -> None:
    more = {"search": [pictures, "--limit", 20], "duplicates": ["--max-percentile", 20]}
    arguments = [name, *more.get(name, [])]
    page = home.parent / "page.html"
    reader, its = os.pipe()
    os.close(reader)
    process = subprocess.Popen(
        command(*arguments, "--html", page), env=environment(home), stdout=its, stderr=subprocess.PIPE, text=True
    )
    os.close(its)
    err = process.communicate(timeout=SECONDS)[1]
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert page.read_text("utf-8").rstrip().endswith("</html>")


def truncated_ids(collection: Path) -> None:
    (tracker,) = collection.glob("shard/segments/*/mutable_id_tracker.mappings")
    os.truncate(tracker, tracker.stat().st_size // 2)


def cut_manifest(collection: Path) -> None:
    (collection / "manifest.json").write_text('{"model"')


def lost_points(collection: Path) -> None:
    manifest = json.loads((collection / "manifest.json").read_text())
    (collection / "manifest.json").write_text(json.dumps({**manifest, "count": manifest["count"] + 1}))


def no_metadata(collection: Path) -> None:
    (collection / "meta.json").unlink()


def emptied(collection: Path) -> None:
    for file in (collection / "shard").rglob("*"):
        if file.is_file():
            os.truncate(file, 0)


@pytest.mark.parametrize("damage", [truncated_ids, cut_manifest, lost_points, no_metadata, emptied])
def test_a_damaged_shard(damage: Callable[[Path], None], home: Path, one: Path, pictures: Path, call: Call) -> None:
    assert call("ingest", "mnist-sample:test").code == 0  # more than Edge would repair from its log
    (collection,) = (home / "embedded" / "collections").iterdir()
    damage(collection)
    for job in (("search", one), ("ingest", pictures), ("status",)):
        error = run(*job, home=home).error()  # in processes of their own: Edge may panic
        assert str(collection) in error
        assert "ingest" in error
    shutil.rmtree(collection)  # the way out that the message names
    assert call("ingest", pictures).code == 0
    assert call("status", "--json").object["points"] == PICTURES
