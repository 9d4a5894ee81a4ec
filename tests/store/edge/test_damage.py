"""The embedded folder after a crash, and damage that Edge itself does not notice."""

import json
import os
import shutil
import signal
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import NoCollection, StoreDamaged
from retrieval.store.edge.engine import EdgeStore
from tests.errors import raises
from tests.store.conftest import codes, meta, points
from tests.store.folders import line, manifest, python

WRITE = """
import sys
from pathlib import Path
from retrieval.store.edge.engine import EdgeStore
from tests.store.conftest import codes, points
store, written = EdgeStore(Path(sys.argv[1])), points(codes(20_000))
for start in range(0, len(written), 100):
    store.upsert("a", written[start : start + 100])
    print(start + 100, flush=True)
"""


DIE = """
import os
import signal
import sys
from pathlib import Path
from retrieval.store.edge import shard
from retrieval.store.edge.engine import EdgeStore
from tests.store.conftest import codes, points
store, written = EdgeStore(Path(sys.argv[1])), points(codes(4000))
store.count("a")
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "upsert":
    shard.ensure_space = lambda folder, size, left=[None, None]: left.pop() if left else die()
    store.upsert("a", written[1500:])
else:
    shard.Shard.count = die
    store.delete("a", [p.id for p in written[:300]])
"""
"""Dies after two batches are applied but not synced, or after points are deleted but before the manifest is."""


def segment_file(root: Path, pattern: str) -> Path:
    (found,) = (root / "collections/a/shard/segments").glob(f"*/{pattern}")
    return found


def test_kill_in_the_middle_of_writing_loses_nothing_acknowledged(root: Path) -> None:
    with python(WRITE, root) as writer:
        acknowledged = [int(line(writer)) for _ in range(25)][-1]
        writer.kill()
        writer.wait(timeout=30)
        assert writer.stdout is not None
        acknowledged = max([acknowledged, *(int(word) for word in writer.stdout.read().split())])
    assert 2000 < acknowledged < 20_000, "it was to be killed in the middle"
    assert not manifest(root)["clean"]
    with closing(EdgeStore(root)) as store:
        written = points(codes(20_000))[:acknowledged]
        found = store.retrieve("a", [p.id for p in written], codes=True)
        assert len(found) == acknowledged
        np.testing.assert_array_equal([found[p.id].code for p in written], [p.code for p in written])
        count = store.count("a")
    assert manifest(root) == {**manifest(root), "clean": True, "count": count}


@pytest.mark.parametrize(("write", "fewest", "most"), [("upsert", 2000, 2524), ("delete", 1700, 1700)])
def test_kill_in_the_first_write_after_opening_is_no_damage(root: Path, write: str, fewest: int, most: int) -> None:
    with python(DIE, root, write) as writer:
        assert writer.wait(timeout=60) == -signal.SIGKILL
    with closing(EdgeStore(root)) as store:
        assert fewest <= store.count("a") <= most
    with closing(EdgeStore(root)) as store:
        store.check()


def test_a_truncated_id_tracker_is_noticed(root: Path) -> None:
    mappings = segment_file(root, "mutable_id_tracker.mappings")
    os.truncate(mappings, mappings.stat().st_size // 2)
    with closing(EdgeStore(root)) as store:
        for _ in range(2):
            with raises(StoreDamaged, root / "collections/a", 1500, 2000, hint=""):
                store.count("a")


def test_after_a_kill_fewer_than_acknowledged_is_damage(root: Path) -> None:
    path = root / "collections/a/manifest.json"
    path.write_text(json.dumps({**manifest(root), "clean": False, "count": 2001}))
    with closing(EdgeStore(root)) as store, raises(StoreDamaged, path.parent, 2000, 2001, hint=""):
        store.count("a")


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        ("vector_storage/vectors/status.dat", None, "2,000 points"),
        ("vector_storage/vectors/status.dat", b"", "Edge panicked"),
        ("vector_storage/vectors/chunk_0.mmap", b"", "vector 0"),
        ("version.info", b"", "Can't parse version"),
        ("../../../shard", None, "does not exist"),
        ("../../../manifest.json", b"[1", "manifest.json"),
        ("../../../manifest.json", b'{"count": 2000}', "manifest"),
        ("../../../meta.json", None, "meta.json"),
    ],
)
def test_lost_or_emptied_files_are_damage_not_a_traceback(
    root: Path, file: str, content: bytes | None, named: str
) -> None:
    path = (segment_file(root, "segment.json").parent / file).resolve()
    if content is not None:
        path.write_bytes(content)
    elif path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    with closing(EdgeStore(root)) as store, raises(StoreDamaged, root / "collections/a", named, hint=""):
        store.query("a", codes(1), 1)


def test_lost_payloads_are_found_when_read(root: Path) -> None:
    segment_file(root, "payload_storage/page_0.dat").write_bytes(b"")
    with closing(EdgeStore(root)) as store, raises(StoreDamaged, root / "collections/a", hint=""):
        store.query("a", codes(1), 1)


def test_recovery_from_damage(root: Path) -> None:
    shutil.rmtree(root / "collections/a")
    with closing(EdgeStore(root)) as store:
        assert store.aliases() == {}
        with pytest.raises(NoCollection):
            store.count("a")
        store.create_collection("b", meta())
        store.move_alias("images", "b")
        assert store.aliases() == {"images": "b"}


def test_damaged_aliases_are_named(root: Path) -> None:
    (root / "aliases.json").write_text("{")
    with closing(EdgeStore(root)) as store, raises(StoreDamaged, root / "aliases.json", hint=""):
        store.check()
