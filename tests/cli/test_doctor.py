"""`doctor`: every trouble is provoked for real, is named, and comes with the way out."""

import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import PICTURES, Call, Done, Ingested
from tests.cli.test_engines_fail import KEY, guarded  # noqa: F401 - a fixture
from tests.errors import mentions
from tests.store.conftest import clean, meta, numbers
from tests.store.faults import Proxy, Refuse, proxy
from tests.store.folders import line, python
from tests.store.qdrant.test_health import answer, cluster, described, silent, spread_over

HOLD = """
import sys
from pathlib import Path
from retrieval.store.edge.folder import FolderLock
lock = FolderLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""
DIES = """
import sys
from pathlib import Path
from retrieval.ops.job_history import JobRecord
JobRecord(Path(sys.argv[1]), "reindex", "images")
"""
Row = dict[str, Any]


def rows_of(done: Done) -> dict[str, list[Row]]:
    """By check, once the answer's form is certain: whatever is not well says what to do."""
    found = done.object
    assert found.keys() == {"ok", "checks"}
    for row in found["checks"]:
        assert row.keys() == {"check", "state", "found", "mend"}
        assert row["found"]
        assert (row["mend"] is None) == (row["state"] == "ok"), row
    worst = {row["state"] for row in found["checks"]}
    assert found["ok"] == ("error" not in worst) == (done.code == 0)
    assert done.code in (0, 1)
    assert done.err == ""
    return {row["check"]: [r for r in found["checks"] if r["check"] == row["check"]] for row in found["checks"]}


Examined = Callable[..., dict[str, list[Row]]]


@pytest.fixture
def examined(call: Call) -> Examined:
    return lambda *options: rows_of(call("doctor", "--json", *options))


def one(found: dict[str, list[Row]], check: str, state: str) -> Row:
    (row,) = found[check]
    assert row["state"] == state, row
    return row


def test_all_is_well(home: Path, ingested: Ingested, examined: Examined, call: Call) -> None:
    found = examined()
    assert {row["state"] for rows in found.values() for row in rows} == {"ok"}
    assert {"settings", "home", "model", "jobs", "engine", "locks", "leftovers", "alias", "points"} <= found.keys()
    assert found["settings"][0]["found"] == "RETRIEVAL_HOME set"
    assert ingested.said["collection"] in found["alias"][0]["found"]
    lines = call("doctor").out.splitlines()
    assert lines[0] == "ok       settings     RETRIEVAL_HOME set"
    assert lines[-1] == f"{len(lines) - 1} ok, 0 warning, 0 error"


def test_a_fresh_machine(examined: Examined, call: Call) -> None:
    found = examined()
    assert one(found, "model", "error")["mend"] == "retrieval train SOURCE"
    assert one(found, "alias", "error")["mend"] == "retrieval ingest SOURCE"
    assert one(found, "home", "ok")
    done = call("doctor")
    assert done.code == 1
    assert "ERROR    model        no default in" in done.out
    assert "→ retrieval train SOURCE" in done.out


def cut_weights(home: Path) -> None:
    (weights,) = home.glob("models/*/weights.safetensors")
    weights.write_bytes(weights.read_bytes()[:-9])


def lost_model(home: Path) -> None:
    (folder,) = (path.parent for path in home.glob("models/*/config.json"))
    shutil.rmtree(folder)


@pytest.mark.parametrize("trouble", [cut_weights, lost_model])
def test_a_model_that_is_damaged_or_gone(trouble: Callable[[Path], None], home: Path, examined: Examined) -> None:
    trouble(home)
    found = examined()
    for check in ("model", "its model"):
        assert one(found, check, "error")["mend"]
    assert one(found, "points", "ok")["found"] == str(PICTURES)


def test_a_source_that_is_not_there(home: Path, folder: Path, examined: Examined, call: Call) -> None:
    assert call("ingest", folder).code == 0
    shutil.rmtree(folder)
    row = one(examined(), "sources", "warning")
    assert str(folder) in row["found"]
    assert "--name pictures" in row["mend"]
    folder.mkdir()
    assert "no files" in one(examined(), "sources", "warning")["found"]


def test_a_source_that_hangs(home: Path, examined: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    from retrieval.errors import SourceError
    from retrieval.ops.doctor import collection

    over = threading.Event()

    def hang(*args: object, **options: object) -> None:
        over.wait(60)
        raise SourceError("too late")

    monkeypatch.setattr(collection, "SECONDS", 0.1)
    monkeypatch.setattr(collection, "open_source", hang)
    assert mentions(one(examined(), "sources", "warning")["found"], "0 s")
    over.set()


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="Linux")
def test_a_home_that_cannot_be_written(examined: Examined, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for place in ("/proc/nowhere", str(tmp_path / "file")):  # where root cannot write either
        monkeypatch.setenv("RETRIEVAL_HOME", place)
        found = examined()
        assert place in one(found, "home", "error")["found"]
        assert "RETRIEVAL_HOME" in found["home"][0]["mend"]
        assert one(found, "engine", "error")


def test_a_folder_that_another_process_holds(home: Path, examined: Examined) -> None:
    with python(HOLD, home / "embedded") as holder:
        assert line(holder) == "held"
        row = one(examined(), "engine", "warning")
        assert f"pid {holder.pid}" in row["found"]
        assert row["mend"].startswith("try again")


def test_a_job_that_died(home: Path, examined: Examined) -> None:
    subprocess.run([sys.executable, "-c", DIES, str(home / "jobs")], check=True, timeout=60)
    found = examined()
    (failed,) = [row for row in found["jobs"] if row["state"] == "warning"]
    assert "reindex" in failed["found"]
    assert "killed" in failed["found"]


def test_points_and_collections_that_are_gone_or_left_over(home: Path, examined: Examined) -> None:
    from retrieval.store.base import resolve
    from retrieval.store.edge.engine import EdgeStore

    store = EdgeStore(home / "embedded")
    live = resolve(store, "images")
    store.create_collection("images-20200101t000000z-4f1c2a9b", meta())
    store.create_collection("images-29990101t000000z-4f1c2a9b", meta())
    store.delete(live, list(points_of(store, live)))
    store.close()
    found = examined()
    assert one(found, "points", "error")["mend"] == "retrieval ingest SOURCE"
    kept, left = found["leftovers"]
    assert (kept["state"], left["state"]) == ("ok", "warning")
    assert "images-2999" in left["found"]
    assert "--prune" in left["mend"]
    shutil.rmtree(home / "embedded" / "collections" / live)
    assert one(examined(), "alias", "error")["mend"] == "retrieval ingest SOURCE"


def points_of(store: Any, collection: str) -> Iterator[str]:
    return (point.id for page in store.scroll(collection) for point in page)


def test_settings_that_make_no_sense(examined: Examined, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QDRANT_URL", "http://me:secret@localhost")
    found = examined()
    assert one(found, "engine", "error")
    assert "secret" not in json.dumps(found)
    (tmp_path / "retrieval.toml").write_text("home = ")
    assert "retrieval.toml" in one(examined(), "settings", "error")["found"]


def test_a_server_that_is_down(trained_home: Path, examined: Examined) -> None:
    with socket.socket() as bound:  # bound and not listening: nobody else can take the port
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        found = examined("--qdrant-url", url)
    row = one(found, "engine", "error")
    assert url in row["found"]
    assert "scripts/qdrant start" in row["mend"]
    assert one(found, "model", "ok")


@pytest.fixture
def served(qdrant_url: str, trained_home: Path, pictures: Path, call: Call) -> Iterator[tuple[str, str]]:
    """URL and alias of a real server's collection."""
    alias = f"test-doctor-{next(numbers)}"
    assert call("ingest", pictures, "--alias", alias, "--qdrant-url", qdrant_url).code == 0
    yield qdrant_url, alias
    clean(qdrant_url)


@pytest.fixture
def faulty(served: tuple[str, str]) -> Iterator[tuple[Proxy, str, str]]:
    """A proxy before that server, the alias and the collection."""
    from retrieval.config import Settings
    from retrieval.store import open_store
    from retrieval.store.base import resolve

    url, alias = served
    with open_store(Settings(qdrant_url=url)) as store:
        collection = resolve(store, alias)
    with proxy(url) as between:
        yield between, alias, collection


def test_a_server_in_order(served: tuple[str, str], examined: Examined, call: Call) -> None:
    url, alias = served
    chosen = ("--qdrant-url", url, "--alias", alias)
    found = examined(*chosen)
    states = {row["state"] for check, rows in found.items() for row in rows if check != "leftovers"}
    assert states == {"ok"}  # what other tests leave behind is theirs
    assert url in one(found, "node", "ok")["found"]
    assert one(found, "replicas", "ok")["found"] == "1 of 1 are active, 1 shards of 1"
    said = call("status", "--json", *chosen).object
    assert (said["points"], said["status"], said["layout"]) == (PICTURES, "green", "HNSW, ef=256")
    assert [said[name] for name in ("shards", "replicas", "write_consistency", "copies", "active")] == [1] * 5
    shown = call("status", *chosen).out
    assert f"index       HNSW, ef=256, 0 of {PICTURES} indexed, green" in shown
    assert "replicas    1 of 1 active, 1 shard × 1 replica" in shown
    assert f"Qdrant {said['server']} at {url}" in shown


def test_addresses_that_are_not_one_cluster(served: tuple[str, str], examined: Examined) -> None:
    url, alias = served
    with proxy(url) as other, socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{bound.getsockname()[1]}"
        rows = examined("--qdrant-url", f"{other.url},{url},{dead}", "--alias", alias)["node"]
    assert [row["state"] for row in rows] == ["error"] * 3
    assert [part for part in (other.url, "QDRANT_URL", 1, 3) if not mentions(rows[0]["found"], part)] == []
    assert mentions(rows[2]["found"], dead)


def test_a_cluster_that_is_not_whole(faulty: tuple[Proxy, str, str], examined: Examined) -> None:
    between, alias, _ = faulty
    away, shards = answer(cluster(message_send_failures=silent(7))), answer(spread_over("Dead"))
    between.fail("/cluster", away, shards, away, shards)
    found = examined("--qdrant-url", between.url, "--alias", alias)
    assert "peer 7 (http://node-7:6335/)" in one(found, "peers", "error")["found"]
    assert [row["found"] for row in found["replicas"]] == [
        "peer 7 (http://node-7:6335/) does not answer",
        "shard 0 on peer 7 is Dead",
    ]
    row = one(found, "replication", "warning")
    assert row["mend"] == f"retrieval reindex --replicas 2 --alias {alias}"


@pytest.mark.parametrize("status", ["yellow", "grey"])
def test_an_index_that_is_not_settled(
    status: str, faulty: tuple[Proxy, str, str], served: tuple[str, str], examined: Examined
) -> None:
    between, alias, collection = faulty
    says = described(served[0], collection, status)
    between.fail(f"/collections/{collection}", says, says)
    row = one(examined("--qdrant-url", between.url, "--alias", alias), "index", "warning")
    assert row["found"].startswith(status)


def test_status_says_what_it_can_find_out(faulty: tuple[Proxy, str, str], call: Call) -> None:
    between, alias, collection = faulty
    chosen = ("--qdrant-url", between.url, "--alias", alias)
    between.fail(f"/collections/{collection}", *[Refuse(503)] * 1000)
    said = call("status", "--json", *chosen).object
    assert (said["collection"], said["points"], said["active"], said["copies"]) == (collection, None, 1, 1)
    assert mentions(said["unknown"], between.url)
    assert "shards" not in said
    between.fail("", *[Refuse(503)] * 1000)
    assert between.url in call("status", *chosen).error()


@pytest.mark.parametrize("key", [KEY, "wrong-key"])
def test_a_key_is_never_shown(
    key: str,
    guarded: str,  # noqa: F811
    trained_home: Path,
    examined: Examined,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QDRANT_API_KEY", key)
    monkeypatch.setenv("QDRANT_URL", guarded)
    found = examined()
    assert "QDRANT_API_KEY" in found["settings"][0]["found"]
    assert one(found, "engine", "ok" if key == KEY else "error")
    assert key not in json.dumps(found) + call("doctor").out


def test_a_lock_is_information(served: tuple[str, str], examined: Examined) -> None:
    from retrieval.config import Settings
    from retrieval.store import open_store

    url, alias = served
    with open_store(Settings(qdrant_url=url)) as store, store.lock(alias):
        held = examined("--qdrant-url", url, "--alias", alias)["locks"]
    assert any(row["found"].startswith(f"{alias}: `") and row["state"] == "ok" for row in held)
