"""The embedded engine alone: the lock on its folder, and when it writes."""

import json
import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from retrieval.errors import Locked, NoCollection, StoreDamaged, StoreError, StoreUnavailable
from retrieval.schema.records import Payload
from retrieval.store.edge import shard
from retrieval.store.edge.engine import EdgeStore
from retrieval.store.edge.shard import RESERVE_BYTES
from retrieval.store.validation import size_of
from tests.errors import mentions, raises
from tests.store.conftest import codes, meta, points
from tests.store.folders import line, manifest, python

HOLD = """
import sys
from pathlib import Path
from retrieval.store.edge.engine import EdgeStore
store = EdgeStore(Path(sys.argv[1]))
print("holding", flush=True)
sys.stdin.read()
store.close()
"""


def test_another_process_that_holds_the_folder_is_named(root: Path) -> None:
    with python(HOLD, root) as holder:
        assert line(holder) == "holding"
        with raises(Locked, root, "-c", f"pid {holder.pid}", "since", hint="QDRANT_URL") as refusal:
            EdgeStore(root, lock_seconds=0.2)
        assert refusal.value.exit_code == 4
        holder.communicate("", timeout=30)
    EdgeStore(root).close()
    assert not (root / "holder.json").exists()


def test_a_dead_holder_is_not_named(root: Path) -> None:
    with python("", root) as dead:
        dead.wait(timeout=30)
    with closing(EdgeStore(root)):
        record = json.loads((root / "holder.json").read_text())
        (root / "holder.json").write_text(json.dumps({**record, "pid": dead.pid}))
        with raises(Locked, root, hint="QDRANT_URL") as refusal:
            EdgeStore(root, lock_seconds=0.1)
        assert not mentions(refusal.value.message, dead.pid)


def test_a_second_store_waits_for_the_first(root: Path) -> None:
    with python(HOLD, root) as holder:
        assert line(holder) == "holding"
        assert holder.stdin is not None
        holder.stdin.close()
        EdgeStore(root, lock_seconds=30).close()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with raises(StoreUnavailable, tmp_path / "file" / "embedded", hint="RETRIEVAL_HOME"):
        EdgeStore(tmp_path / "file" / "embedded")


def test_a_clean_reopen_writes_nothing_of_ours(root: Path) -> None:
    files = [root / "collections/a" / name for name in ("manifest.json", "meta.json")]
    before = [(f.stat().st_mtime_ns, f.stat().st_ino) for f in files]
    with closing(EdgeStore(root)) as store:
        assert store.count("a") == 2000
        assert len(store.query("a", codes(1), 5)[0]) == 5
        store.check()
    assert [(f.stat().st_mtime_ns, f.stat().st_ino) for f in files] == before


def test_a_creation_or_a_drop_that_was_killed_leaves_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with closing(EdgeStore(root)) as store:
        store.create_collection("c", meta())
        with monkeypatch.context() as patch:
            patch.setattr(shard, "write_json", killed)
            with pytest.raises(Killed):
                store.create_collection("b", meta())
            patch.setattr(shutil, "rmtree", killed)
            with pytest.raises(Killed):
                store.drop_collection("c")
        assert store.collections() == ["a"]
        assert len(list((root / "collections").iterdir())) == 3
    with closing(EdgeStore(root)) as store:
        assert [f.name for f in (root / "collections").iterdir()] == ["a"]
        store.create_collection("b", meta())


def test_a_stray_file_is_no_collection(root: Path) -> None:
    (root / "collections" / "notes.txt").write_text("mine")
    with closing(EdgeStore(root)) as store:
        assert store.collections() == ["a"]
        store.check()


def on_disk(folder: Path) -> int:
    """The size of the files as `du` counts it, without the holes in Edge's files."""
    files = [str(file) for file in folder.rglob("*") if file.is_file()]
    counted = subprocess.run(["du", "--block-size=1", *files], capture_output=True, text=True, timeout=60, check=True)
    return sum(int(line.split()[0]) for line in counted.stdout.splitlines())


def test_disk_usage(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(root)
    with closing(EdgeStore(root)) as store:
        for free, left in ((RESERVE_BYTES + 7, 7), (RESERVE_BYTES, 0), (RESERVE_BYTES - 1, 0)):
            monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
            taken, free_now = store.disk_usage("a")
            assert free_now == left
            assert taken == on_disk(root / "collections/a")
        with raises(NoCollection, "'b'", hint=""):
            store.disk_usage("b")


def test_holes_in_files_take_no_room(root: Path) -> None:
    with closing(EdgeStore(root)) as store:
        before, _ = store.disk_usage("a")
        assert before > 2000 * 8 * 4, "the codes themselves are there"
        with (root / "collections/a/shard/hole").open("wb") as file:
            file.truncate(2**40)
        assert store.disk_usage("a")[0] == before
        assert store.describe("a")["bytes"] == before


def test_a_write_needs_room_in_every_file_that_grows(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage, written = shutil.disk_usage(root), points(codes(2010))[2000:]
    dogs: Payload = {"source": "dogs"}
    of_points = 10 * (8 * 4 + 4096) + sum(size_of(p.payload) for p in written)
    of_payloads = 10 * (4096 + size_of(dogs))
    with closing(EdgeStore(root)) as store:
        writes: list[tuple[int, Callable[[], None]]] = [
            (of_points, lambda: store.upsert("a", written)),
            (of_payloads, lambda: store.set_payload("a", {p.id: dogs for p in written})),
        ]
        for size, write in writes:
            enough = RESERVE_BYTES + 4 * size
            monkeypatch.setattr(shutil, "disk_usage", lambda _, free=enough - 1: usage._replace(free=free))
            with raises(StoreError, root / "collections/a", "MiB", hint="RETRIEVAL_HOME"):
                write()
            monkeypatch.setattr(shutil, "disk_usage", lambda _, free=enough: usage._replace(free=free))
            write()
        assert store.retrieve("a", [written[0].id])[written[0].id].payload == dogs


@pytest.mark.parametrize(
    ("raised", "expected", "named"),
    [
        (ValueError("two\nlines"), StoreDamaged, ["cannot read it", "two lines"]),
        (
            type("PanicException", (BaseException,), {})("oh\nno"),
            StoreDamaged,
            ["cannot read it", "Edge", "oh no"],
        ),
        (Locked("by another"), Locked, ["by another"]),
        (KeyboardInterrupt("pressed"), KeyboardInterrupt, ["pressed"]),
        (SystemExit(3), SystemExit, [3]),
    ],
    ids=["error", "panic", "one of ours", "Ctrl-C", "exit"],
)
def test_whatever_edge_raises(raised: BaseException, expected: type[BaseException], named: list[object]) -> None:
    with pytest.raises(expected) as caught, shard.translate_errors("cannot read it", StoreDamaged):
        raise raised
    assert type(caught.value) is expected
    assert [part for part in named if not mentions(str(caught.value), part)] == []


def test_a_disk_that_is_nearly_full_is_not_written_to(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(root)
    with closing(EdgeStore(root)) as store:
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100 * 2**20))
            with raises(StoreError, root / "collections/a", "100 MiB", hint="RETRIEVAL_HOME"):
                store.upsert("a", points(codes(2100))[2000:])
            with raises(StoreError, root, "100 MiB", "256 MiB", hint="RETRIEVAL_HOME"):
                store.create_collection("b", meta())
        assert store.count("a") == 2000
        store.upsert("a", points(codes(2100))[2000:])
    assert manifest(root)["count"] == 2100
