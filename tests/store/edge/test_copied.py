"""The copy of the embedded engine that a service reads, while jobs write the original."""

import shutil
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import Locked, NoCollection, StoreDamaged, StoreError
from retrieval.store.edge import copied
from retrieval.store.edge.copied import COPIES, CopiedEdgeStore
from retrieval.store.edge.engine import EdgeStore
from tests.errors import raises
from tests.store.conftest import codes, meta, points
from tests.store.folders import line, python
from tests.web.serving import until

SERVE = """
import sys, time
from pathlib import Path
from retrieval.store.edge.copied import CopiedEdgeStore
store = CopiedEdgeStore(Path(sys.argv[1]), "images")
print(store.count("a"), flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copied, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(copied, "RETRY_SECONDS", 0.1)


@pytest.fixture
def reader(root: Path) -> Iterator[CopiedEdgeStore]:
    with closing(CopiedEdgeStore(root, "images")) as store:
        yield store


def test_a_job_writes_while_a_service_reads(root: Path, reader: CopiedEdgeStore) -> None:
    pages = reader.scroll("a", page=400)
    seen = len(next(pages))
    with closing(EdgeStore(root)) as writer:
        writer.upsert("a", points(codes(2030))[2000:])
        assert reader.count("a") == 2000, "what was before the job"
        assert len(reader.query("a", codes(1), 5)[0]) == 5
    until(lambda: reader.count("a") == 2030)
    assert seen + sum(map(len, pages)) == 2000, "what has begun ends on the copy that it began with"
    assert sorted(p.id for page in reader.scroll("a") for p in page) == sorted(p.id for p in points(codes(2030)))
    until(lambda: len([*(root / COPIES).glob("*/collections/*")]) == 1)  # older copies are removed


def test_a_swap_is_followed(root: Path, reader: CopiedEdgeStore) -> None:
    with closing(EdgeStore(root)) as writer:
        writer.create_collection("b", meta())
        writer.upsert("b", points(codes(3)))
        writer.move_alias("images", "b")
        writer.drop_collection("a")
    until(lambda: reader.aliases() == {"images": "b"})
    assert reader.count("b") == 3
    with raises(NoCollection, "no collection 'a'"):
        reader.count("a")


def test_a_service_begins_before_there_is_a_collection(tmp_path: Path) -> None:
    with closing(CopiedEdgeStore(tmp_path, "images")) as reader:
        assert reader.aliases() == {}
        with closing(EdgeStore(tmp_path)) as writer:
            writer.create_collection("a", meta())
            writer.move_alias("images", "a")
        until(lambda: reader.aliases() == {"images": "a"})
        assert reader.query("a", np.zeros((1, 8), np.float32), 5) == [[]]


def test_two_services_and_what_a_killed_one_leaves(root: Path, reader: CopiedEdgeStore) -> None:
    with python(SERVE, root) as service:
        assert line(service) == "2000"
        assert len([*(root / COPIES).iterdir()]) == 2
        service.send_signal(signal.SIGKILL)
    with closing(CopiedEdgeStore(root, "images")):
        assert len([*(root / COPIES).iterdir()]) == 2, "of the killed one nothing is left"
    reader.close()
    assert not [*(root / COPIES).iterdir()]


def test_a_job_has_the_folder(root: Path) -> None:
    with closing(EdgeStore(root)), raises(Locked, "in use by"):
        CopiedEdgeStore(root, "images", lock_seconds=0.1)
    assert not [*(root / COPIES).iterdir()]


def test_no_room_for_a_copy(
    root: Path, reader: CopiedEdgeStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = shutil.disk_usage(root)
    with closing(EdgeStore(root)) as writer:
        writer.upsert("a", points(codes(2030))[2000:])
        monkeypatch.setattr(shutil, "disk_usage", lambda _: real._replace(free=2**20))
    until(lambda: "MiB needed for the copy" in caplog.text)
    assert reader.count("a") == 2000, "it answers from the copy that it has"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: real)
    until(lambda: reader.count("a") == 2030)


def test_damage_is_found_by_the_request_that_meets_it(root: Path) -> None:
    (root / "collections/a/manifest.json").write_text("{}")
    with closing(CopiedEdgeStore(root, "images")) as reader, raises(StoreDamaged, "manifest"):
        reader.count("a")


def test_nothing_is_written_to_a_copy(reader: CopiedEdgeStore) -> None:
    with raises(StoreError, "cannot be written"):
        reader.lock("images")
