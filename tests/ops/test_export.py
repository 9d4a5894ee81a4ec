"""`retrieval export`: the file holds what the engine holds, is the same from both, and is complete or absent."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from qdrant_client import QdrantClient

from retrieval.api import Index
from retrieval.config import Settings
from retrieval.errors import FilterError, StoreError, UsageError
from retrieval.ops import export as module
from retrieval.ops import export_images
from retrieval.ops.export import export
from retrieval.reindex.migrate import migrate
from retrieval.schema.filter_language import parse
from retrieval.schema.records import FIELDS, Point, point_id
from retrieval.sources import open_source
from retrieval.sources.folder import Folder
from retrieval.store.base import Store
from retrieval.store.edge.engine import EdgeStore
from tests.cli.conftest import (
    SECONDS,
    Call,
    command,
    environment,
)
from tests.cli.conftest import call as call  # a fixture
from tests.cli.test_interrupted import stop_when
from tests.errors import mentions, raises
from tests.sources.conftest import put
from tests.store.conftest import (
    ENGINES,
    codes,
    connected,
    meta,
)
from tests.store.conftest import name as name  # fixtures
from tests.store.conftest import open_engine as open_engine
from tests.store.conftest import store as store

DIM = 8
OWN = ["id", "code", *FIELDS]
TIME = "2026-11-24T07:00:00+00:00"


def described(n: int, **own: Any) -> dict[str, Any]:
    """A payload as ingest writes it."""
    return {
        "source": "cats",
        "path": f"größer/{n}.png",
        "sha256": f"{n:064x}",
        "bytes": 100 + n,
        "mtime_ns": 1_700_000_000_123_456_789 + n,
        "width": 28,
        "height": 30,
        "ingested_at": TIME,
        **own,
    }


USERS: list[dict[str, Any]] = [
    {"label": "7", "weight": 2.0, "count": 3, "either": 1, "odd": "two\nlines 🐈", "code": "A-1", "seen": True},
    {"label": "", "weight": -1.5, "count": -(2**62), "either": 0.5, "odd": 7, "id": "mine", "seen": False},
    {"weight": None, "either": 2**53, "odd": ["a", 1], "metadata": "m", "a.b": 1, "large": 2**60},
    {"odd": {"b": 1, "a": "ä"}, "label.missing": "x", "nothing": None, "large": 0.5},
    {"odd": None, "odder": True},
]
"""Users' fields, from metadata files and from other programs: of one type, and of several."""
EXPECTED: dict[str, tuple[pa.DataType, list[Any]]] = {
    "a.b": (pa.int64(), [None, None, 1, None, None]),
    "payload.code": (pa.string(), ["A-1", None, None, None, None]),
    "count": (pa.int64(), [3, -(2**62), None, None, None]),
    "either": (pa.float64(), [1.0, 0.5, 2.0**53, None, None]),
    "payload.id": (pa.string(), [None, "mine", None, None, None]),
    "payload.label.missing": (pa.string(), [None, None, None, "x", None]),
    "large": (pa.string(), [None, None, str(2**60), "0.5", None]),
    "payload.metadata": (pa.string(), [None, None, "m", None, None]),
    "odd": (pa.string(), ["two\nlines 🐈", "7", '["a", 1]', '{"a": "ä", "b": 1}', None]),
    "odder": (pa.bool_(), [None, None, None, None, True]),
    "seen": (pa.bool_(), [True, False, None, None, None]),
    "weight": (pa.float64(), [2.0, -1.5, None, None, None]),
}
"""Their columns in the file, in order."""


def odd_points() -> list[Point]:
    vectors = codes(len(USERS))
    vectors[0] = [0.1, -0.0, 1e-45, 3.4028235e38, 1 / 3, 16777217, 1e-40, -1e10]
    return [
        Point(point_id("cats", f"{n}.png"), vector, described(n, **own))
        for n, (vector, own) in enumerate(zip(vectors, USERS, strict=True))
    ]


def fill(store: Store, name: str, points: list[Point]) -> None:
    store.create_collection(name, meta())
    store.move_alias(f"{name}-alias", name)
    store.upsert(name, points)


def plain(count: int) -> list[Point]:
    return [Point(point_id("cats", f"{n}.png"), code, described(n)) for n, code in enumerate(codes(count))]


def test_the_file_holds_what_the_engine_holds(store: Store, name: str, tmp_path: Path) -> None:
    given = odd_points()
    fill(store, name, given)
    summary = export(store, f"{name}-alias", tmp_path / "all.parquet")
    found = pq.read_table(tmp_path / "all.parquet")
    order = sorted(range(len(given)), key=lambda n: given[n].id)
    assert summary.points == summary.found == len(found) == len(given)
    assert found.column_names == [*OWN, *EXPECTED]
    assert found.column("id").to_pylist() == [given[n].id for n in order]
    held = np.array([point.code for page in store.scroll(name, codes=True) for point in page])
    assert found.schema.field("code").type.value_type == pa.float32()
    assert np.array(found.column("code").to_pylist(), np.float32).tobytes() == held.tobytes()
    for field in FIELDS:
        kind = pa.int64() if FIELDS[field].kind == "number" else pa.string()
        assert found.schema.field(field).type == kind, field
        assert found.column(field).to_pylist() == [given[n].payload.get(field) for n in order]
    for column, (kind, values) in EXPECTED.items():
        assert found.schema.field(column).type == kind, column
        assert found.column(column).to_pylist() == [values[n] for n in order], column


def said_of(file: Path) -> dict[str, Any]:
    if file.suffix == ".npz":
        with np.load(file, allow_pickle=False) as arrays:
            return dict(json.loads(str(arrays["metadata"])))
    return dict(json.loads(pq.read_schema(file).metadata[b"retrieval"]))


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
def test_the_file_says_what_it_is(store: Store, name: str, suffix: str, tmp_path: Path) -> None:
    fill(store, name, odd_points())
    file = tmp_path / f"all{suffix}"
    export(store, f"{name}-alias", file, "label=7")
    said = said_of(file)
    assert said.pop("exported") > TIME
    assert said == {
        "format": 1,
        "alias": f"{name}-alias",
        "collection": name,
        "model": meta().model,
        "dim": DIM,
        "distance": "Euclid",
        "image_size": [28, 28],
        "channels": 1,
        "sources": {"cats": "somewhere/cats"},
        "where": "label=7",
        "points": 1,
    }


def test_npz_holds_the_same_with_what_is_missing_beside(store: Store, name: str, tmp_path: Path) -> None:
    fill(store, name, odd_points())
    export(store, f"{name}-alias", tmp_path / "all.parquet")
    summary = export(store, f"{name}-alias", tmp_path / "all.npz")
    table = pq.read_table(tmp_path / "all.parquet")
    with np.load(tmp_path / "all.npz", allow_pickle=False) as arrays:
        masks = {f"{c}.missing" for c in table.column_names if table.column(c).null_count}
        assert {"label.missing", "weight.missing", "count.missing"} <= masks
        assert set(arrays) == {*table.column_names, *masks, "metadata"}
        assert set(summary.columns) == set(table.column_names)
        assert arrays["code"].dtype == np.float32
        assert arrays["code"].shape == (len(table), DIM)
        assert arrays["code"].tolist() == table.column("code").to_pylist()
        for column in set(table.column_names) - {"code"}:
            values = table.column(column).to_pylist()
            lacks = [value is None for value in values]
            mask = arrays[f"{column}.missing"] if any(lacks) else np.zeros(len(values), bool)
            assert mask.tolist() == lacks, column
            filler = {"U": "", "i": 0, "f": None, "b": False}[arrays[column].dtype.kind]
            read = [None if value != value else value for value in arrays[column].tolist()]
            assert read == [filler if value is None else value for value in values], column


def same_arrays(one: Path, other: Path) -> None:
    with np.load(one, allow_pickle=False) as ours, np.load(other, allow_pickle=False) as theirs:
        assert list(ours) == list(theirs)
        for array in ours:
            assert ours[array].dtype == theirs[array].dtype, array
            assert ours[array].tobytes() == theirs[array].tobytes(), array


@pytest.mark.parametrize("where", [None, 'path~"größer/1*"', "count>=0 or not seen=true"])
def test_both_engines_give_the_same_file(
    where: str | None,
    name: str,
    open_engine: Callable[[str], Store],
    qdrant_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "utc_now", lambda: TIME)
    # several pages and several row groups; the server's pages of filtered points are smaller
    monkeypatch.setattr(module, "PAGE", 100)
    monkeypatch.setattr(module, "GROUP_BYTES", 90_000)
    del qdrant_url  # only needed so that the server runs
    with closing(open_engine("embedded")) as embedded, closing(open_engine("server")) as server:
        fill(embedded, name, [*odd_points(), *plain(1500)[len(USERS) :]])
        migrate(embedded, server, f"{name}-alias")
        for engine in (embedded, server):
            for suffix in (".parquet", ".npz"):
                summary = export(engine, f"{name}-alias", tmp_path / f"{engine.engine}{suffix}", where)
                assert summary.points == embedded.count(name, parse(where) if where else None) > 0
    assert (tmp_path / "embedded.parquet").read_bytes() == (tmp_path / "server.parquet").read_bytes()
    same_arrays(tmp_path / "embedded.npz", tmp_path / "server.npz")
    if where is None:
        assert pq.ParquetFile(tmp_path / "server.parquet").metadata.num_row_groups == 3


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
def test_an_empty_collection(store: Store, name: str, suffix: str, tmp_path: Path) -> None:
    fill(store, name, [])
    file = tmp_path / f"none{suffix}"
    assert export(store, f"{name}-alias", file).points == 0
    if suffix == ".npz":
        with np.load(file, allow_pickle=False) as arrays:
            assert arrays["code"].shape == (0, DIM)
            assert arrays["id"].shape == arrays["label"].shape == (0,)
    else:
        assert pq.read_table(file).column_names == OWN
    assert said_of(file)["points"] == 0


def test_a_filter_that_cannot_be_meant(store: Store, name: str, tmp_path: Path) -> None:
    fill(store, name, odd_points())
    with raises(FilterError, option="where"):
        export(store, f"{name}-alias", tmp_path / "x.parquet", "label==")
    with raises(UsageError, "'wieght'", option="where", hint="weight"):
        export(store, f"{name}-alias", tmp_path / "x.parquet", "wieght>1")
    assert list(tmp_path.glob("*.parquet")) == []


def test_what_a_job_writes_meanwhile(store: Store, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(store, name, plain(20))
    late: dict[str, dict[str, Any]] = {"point": {}, "kind": {"height": "high"}, "field": {"mood": "good"}}
    honest, first, last = (
        type(store).scroll,
        "00000000-0000-5000-8000-000000000000",
        "ffffffff-ffff-5fff-bfff-ffffffffffff",
    )
    writing = iter(late)

    def scroll(
        self: Store, collection: str, where: Any = None, *, codes: bool = False, page: int = 1000
    ) -> Iterator[Any]:
        for number, points in enumerate(honest(self, collection, where, codes=codes, page=5)):
            yield points
            if codes and number == 1:
                what = next(writing)
                id_ = first if what == "point" else last
                self.upsert(collection, [Point(id_, plain(1)[0].code, described(21, **late[what]))])

    monkeypatch.setattr(type(store), "scroll", scroll)
    summary = export(store, f"{name}-alias", tmp_path / "x.parquet")
    assert (summary.points, summary.found) == (20, 21)
    assert pq.read_metadata(tmp_path / "x.parquet").num_rows == 20
    before = (tmp_path / "x.parquet").read_bytes()
    for _ in ("kind", "field"):
        with raises(StoreError, name, "changed", hint=""):
            export(store, f"{name}-alias", tmp_path / "x.parquet")
        store.delete(name, [last])
    assert (tmp_path / "x.parquet").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["x.parquet"]


@pytest.fixture
def images(own_home: Path) -> Path:
    """A home whose alias `images` holds the odd points, embedded."""
    with closing(EdgeStore(own_home / "embedded")) as store:
        store.create_collection("test-images", meta())
        store.move_alias("images", "test-images")
        store.upsert("test-images", odd_points())
    return own_home


@pytest.mark.usefixtures("images")
def test_the_command(call: Call, tmp_path: Path) -> None:
    said = call("export", "all.parquet", "--json").object
    assert (said["file"], said["points"], said["found"], said["alias"]) == ("all.parquet", 5, 5, "images")
    assert (said["collection"], said["model"], said["where"]) == ("test-images", meta().model, None)
    assert said["columns"] == pq.read_schema(tmp_path / "all.parquet").names
    assert said["bytes"] == (tmp_path / "all.parquet").stat().st_size
    done = call("export", "some.NPZ", "--where", "weight>0")
    assert done.out.startswith("images → test-images: 1 point, 19 columns in some.NPZ (")
    assert done.err == ""
    with np.load(tmp_path / "some.NPZ", allow_pickle=False) as arrays:
        assert arrays["weight"].tolist() == [2.0]
    done = call("export", "all.parquet", "--images")
    assert (done.code, done.err.count("refused: cats/größer/")) == (3, 5)
    assert pq.read_table("all.parquet").column("image").null_count == 5


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("all.csv", [".parquet", ".npz"]),
        ("parquet", [".parquet", ".npz"]),
        ("nowhere/all.parquet", ["No such file or directory"]),
        ("all.csv/x.npz", []),
        ("folder.npz", ["folder"]),
        ("/proc/x.parquet", []),
    ],
)
def test_a_place_that_cannot_be_written_is_wrong_usage(call: Call, tmp_path: Path, file: str, named: list[str]) -> None:
    (tmp_path / "all.csv").touch()
    (tmp_path / "folder.npz").mkdir()
    call("export", file).error(2, file, *named)


def test_without_a_collection(call: Call, tmp_path: Path) -> None:
    call("export", "all.parquet").error(1, "'images'", "retrieval ingest SOURCE")
    assert not (tmp_path / "all.parquet").exists()


@pytest.mark.usefixtures("images")
def test_from_python(own_home: Path, tmp_path: Path) -> None:
    with Index.open(settings=Settings(home=own_home)) as index:
        assert index.export(tmp_path / "x.npz", where="label=7").points == 1
        assert index.export(tmp_path / "x.npz", where=index.filter("label=7")).points == 1
        assert "Match(field='label'" in said_of(tmp_path / "x.npz")["where"]
    with raises(StoreError, "'images'", "closed", hint=""):
        index.export(tmp_path / "x.npz")


def test_images_beside_what_is_stored(store: Store, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five, one is gone, one has changed, one is of a source out of reach; a user's field has the column's name."""
    monkeypatch.setattr(export_images, "GROUP_BYTES", 100)
    contents = {key: key.encode() * 20 for key in ("a/0.png", "a/1.png", "2.png")}
    for key, data in contents.items():
        put(tmp_path / "cats", key, data=data)
    (tmp_path / "cats/a/1.png").write_bytes(b"another")
    known = [(key, hashlib.sha256(contents.get(key, b"")).hexdigest()) for key in (*contents, "gone.png")]
    points = [
        Point(point_id("cats", key), code, described(n, path=key, sha256=sha, image="mine"))
        for n, ((key, sha), code) in enumerate(zip(known, codes(4), strict=True))
    ]
    points.append(Point(point_id("dogs", "0.png"), codes(5)[4], described(5, source="dogs", path="0.png")))
    fill(store, name, points)
    file = tmp_path / "all.parquet"
    summary = export(store, f"{name}-alias", file, images={"cats": Folder("cats", tmp_path / "cats")})
    table = pq.read_table(file)
    assert table.column_names == [*OWN, "payload.image", "image"] == list(summary.columns)
    read = {row["path"]: row["image"] for row in table.to_pylist() if row["source"] == "cats"}
    good = {key: {"bytes": contents[key], "path": f"cats/{key}"} for key in ("a/0.png", "2.png")}
    assert read == {**good, "a/1.png": None, "gone.png": None}
    assert json.loads(table.schema.metadata[b"huggingface"])["info"]["features"] == {"image": {"_type": "Image"}}
    said = {f"{each['source']}/{each['path']}": each["reason"] for each in summary.to_json()["refused"]}
    assert set(said) == {"cats/a/1.png", "cats/gone.png", "dogs/0.png"}
    assert summary.failed == 3
    assert pq.ParquetFile(file).metadata.num_row_groups > 1
    again = open_source(str(file), Settings(home=tmp_path))
    found = {entry.key: entry for entry in again.entries()}
    assert len(found) == 5
    with raises(UsageError, "all.npz", option="images", hint=".parquet"):
        export(store, f"{name}-alias", tmp_path / "all.npz", images={})


@pytest.fixture(scope="module")
def many(qdrant_url: str) -> Iterator[tuple[str, str]]:
    """URL and alias of a collection of 20,000 points on the server; other tests drop those that are called `test-…`."""
    name = "export-many"
    with connected(qdrant_url) as store:
        fill(store, name, plain(20_000))
    yield qdrant_url, f"{name}-alias"
    QdrantClient(url=qdrant_url, check_compatibility=False).delete_collection(name)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
def test_a_run_that_is_stopped_leaves_the_old_file(
    many: tuple[str, str], suffix: str, stop: signal.Signals, own_home: Path, tmp_path: Path
) -> None:
    url, alias = many
    file = tmp_path / f"all{suffix}"
    file.write_bytes(b"the old one")

    def begun() -> bool:
        return any(draft.stat().st_size for draft in tmp_path.glob(f".all{suffix}.*"))

    own_home.mkdir()
    stop_when(begun, stop, own_home, "export", file, "--alias", alias, "--qdrant-url", url)
    assert file.read_bytes() == b"the old one"
    assert len(list(tmp_path.glob(f".all{suffix}.*"))) == (stop == signal.SIGKILL)


@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
def test_a_disk_that_takes_no_more_leaves_the_old_file(
    many: tuple[str, str], suffix: str, own_home: Path, tmp_path: Path
) -> None:
    url, alias = many
    file = tmp_path / f"all{suffix}"
    file.write_bytes(b"the old one")
    own_home.mkdir()
    done = subprocess.run(
        [
            "sh",
            "-c",
            'ulimit -f 1000 && exec "$@"',
            "sh",
            *command("export", file, "--alias", alias, "--qdrant-url", url),
        ],
        env=environment(own_home),
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert [part for part in ("error", file, "File too large") if not mentions(line, part)] == []
    assert file.read_bytes() == b"the old one"
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == [file.name]


MEASURED = """
import sys
from pathlib import Path
from retrieval.config import Settings
from retrieval.ops.export import export
from retrieval.store import open_store

def peak():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))

url, alias, file = sys.argv[1:]
with open_store(Settings(qdrant_url=url or None)) as store:
    for page in store.scroll(store.aliases()[alias], codes=True):
        pass  # the embedded engine's own pages, which are in memory from now on
    before = peak()
    assert export(store, alias, Path(file)).points
    print(peak() - before)
"""
"""KiB by which the peak of resident memory grows, from engine open and read once to exported."""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux counts resident memory there")
@pytest.mark.parametrize("engine", ENGINES)
def test_memory_does_not_grow_with_the_collection(
    engine: str, open_engine: Callable[[str], Store], request: pytest.FixtureRequest, own_home: Path, tmp_path: Path
) -> None:
    url = request.getfixturevalue("qdrant_url") if engine == "server" else ""
    grown = {}
    with closing(EdgeStore(own_home / "embedded") if engine == "embedded" else open_engine(engine)) as store:
        for count in (10_000, 60_000):
            fill(store, f"test-memory-{count}", plain(count))
    for count in (10_000, 60_000):
        for suffix in (".parquet", ".npz"):
            measured = subprocess.run(
                [sys.executable, "-c", MEASURED, url, f"test-memory-{count}-alias", str(tmp_path / f"x{suffix}")],
                env=environment(own_home),
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )
            assert measured.returncode == 0, measured.stderr
            grown[count, suffix] = int(measured.stdout) // 1024

    for suffix in (".parquet", ".npz"):
        assert grown[60_000, suffix] <= grown[10_000, suffix] + 40, f"{grown} MiB"
