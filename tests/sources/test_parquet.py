"""Parquet files with a column of images: the columns, keys and labels, memory, and damaged files."""

import hashlib
import io
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.config import Settings
from retrieval.errors import BadImage, SourceError
from retrieval.images.decode import decode, encode_png
from retrieval.schema.image_shape import ImageShape
from retrieval.sources import base, open_source, parquet_rows, read
from tests.errors import raises
from tests.sources.conftest import Open, listed, only

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FEATURES = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}


def put(path: Path, columns: dict[str, pa.Array], features: dict[str, Any] | None = None, **options: Any) -> Path:
    table = pa.table(columns)
    if features is not None:
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, **options)
    return path


THREADS = """
import io, os, sys
import pyarrow as pa
from retrieval.ops.export import write_npz, write_parquet
from retrieval.sources.base import Root
from retrieval.sources.parquet import Parquet

def threads():
    return len(os.listdir("/proc/self/task"))

before = threads()
with open(sys.argv[1], "rb") as file:
    source = Parquet("p", Root("memory://p"), file, 0, None, labels=True)
    assert len([entry.fetch() for entry in source.entries()]) == 2
exported = pa.table({"id": ["a"], "code": pa.array([[1, 2]], pa.list_(pa.float32()))})
with io.BytesIO() as whole:
    write_parquet(whole, [exported], exported.schema, {}, lambda written: None)
    write_npz(io.BytesIO(), whole, [], 2)
print(threads() - before)
"""
"""Reads Parquet files that are files of Python's, as one by URL is; prints how many threads that left behind."""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="counts threads in /proc")
def test_no_thread_of_arrow_is_left_that_could_let_go_of_a_file_while_python_ends(tmp_path: Path) -> None:
    labels = pa.array([0, 1])
    file = put(tmp_path / "p.parquet", {"image": images([b"a", b"b"], ["a", "b"]), "label": labels}, FEATURES)
    reads = [sys.executable, "-c", THREADS, str(file)]
    done = subprocess.run(reads, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def images(data: Sequence[bytes | None], paths: Sequence[str | None]) -> pa.Array:
    return pa.array([{"bytes": d, "path": p} for d, p in zip(data, paths, strict=True)], IMAGE)


def png(value: int) -> bytes:
    return encode_png(np.full((2, 3, 3), value, np.uint8))


@pytest.mark.parametrize("where", ["here", "by URL"])
def test_as_hugging_face_writes_it(tmp_path: Path, opened: Open, where: str) -> None:
    paths = ["a b.png", "x/😺\n.png", "2.png", "3.png", "4.png"]
    columns = {
        "label": pa.array([0, 1, -1, None, 1]),
        "image": images([png(n) for n in range(5)], paths),
        "mask": images([b"m"] * 5, paths),
    }
    spec = str(put(tmp_path / "my pets.parquet", columns, FEATURES | {"mask": {"_type": "Image"}}, row_group_size=2))
    if where == "by URL":
        import fsspec

        data, spec = Path(spec).read_bytes(), f"memory://{tmp_path.name}/my pets.parquet"
        fsspec.filesystem("memory").pipe(spec, data)
    source = opened(spec, labels=True)
    assert (source.name, source.spec, source.whole) == ("my-pets", spec, True)
    entries = list(source.entries())
    assert [(e.key, e.label) for e in entries] == list(zip(paths, ["cat", "dog", None, None, "dog"], strict=True))
    times = {Path(spec).stat().st_mtime_ns} if where == "here" else {0}
    assert {(e.source, e.bytes) for e in entries} == {("my-pets", 0)}
    assert {e.mtime_ns for e in entries} == times
    for number, entry in reversed(list(enumerate(entries))):
        assert decode(entry.read(), entry.key, ImageShape(2, 3, 3)).pixels.tolist() == [[[number] * 3] * 3] * 2
        assert source.read(entry.key) == entry.read()
    assert {e.label for e in opened(spec).entries()} == {None}  # not asked for


@pytest.mark.parametrize(
    "paths",
    [
        *([None, None], ["a.png", None], ["a.png", "a.png"], ["/data/a.png", "/data/b.png"], ["../a.png", "b.png"]),
        *([".a.png", "b.png"], ["a", "b"]),
    ],
)
def test_paths_that_cannot_be_keys_give_way_to_row_numbers(
    tmp_path: Path, opened: Open, paths: list[str | None]
) -> None:
    source = opened(put(tmp_path / "x.parquet", {"image": images([b"one", b"two"], paths)}))
    assert listed(source) == ["00000000.png", "00000001.png"]
    assert source.read("00000001.png") == b"two"


@given(
    st.lists(st.none() | st.binary(max_size=40), min_size=1, max_size=40),
    st.integers(1, 7),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_any_row_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, data: list[bytes | None], group: int, struct: bool, chance: random.Random
) -> None:
    column = images(data, [None] * len(data)) if struct else pa.array(data, pa.binary())
    path = put(tmp_path_factory.mktemp("any") / "x.parquet", {"img": column}, row_group_size=group)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parquet_rows, "MOST_ROWS", 3)
        source = open_source(str(path), Settings(home=path.parent))
        entries = list(enumerate(source.entries()))
        chance.shuffle(entries)
        for number, entry in entries:
            if data[number] is None:
                with raises(BadImage, f"row {number}", path, "null"):
                    entry.read()
            else:
                assert entry.read() == data[number]


@pytest.mark.parametrize(
    ("columns", "features", "found"),
    [
        ({"id": pa.array([7]), "photo": pa.array([b"1"])}, None, b"1"),
        ({"thumb": pa.array([b"0"]), "img": pa.array([b"1"])}, None, b"1"),
        ({"sound": images([b"0"], [None]), "photo": images([b"1"], [None])}, {"photo": {"_type": "Image"}}, b"1"),
        ({"photo": pa.array([b"1"], pa.large_binary())}, None, b"1"),
        ({"image": pa.array(["no bytes"]), "data": pa.array([b"1"])}, None, b"1"),
    ],
)
def test_which_column(
    tmp_path: Path, opened: Open, columns: dict[str, pa.Array], features: dict[str, Any] | None, found: bytes
) -> None:
    assert only(opened(put(tmp_path / "x.parquet", columns, features))).read() == found


@pytest.mark.parametrize(
    ("label", "features", "expected"),
    [
        (pa.array(["cat", None]), None, ["cat", None]),
        (pa.array(["cat", "dog"]).dictionary_encode(), None, ["cat", "dog"]),
        (pa.array([3, -1]), None, ["3", "-1"]),
        (pa.array([1, 5]), FEATURES, ["dog", "5"]),
        (pa.array([0.5, 1.5]), None, ["x", "y"]),  # no label: then the folder's name, as anywhere
    ],
)
def test_labels(
    tmp_path: Path, opened: Open, label: pa.Array, features: dict[str, Any] | None, expected: list[str | None]
) -> None:
    columns = {"image": images([b"1", b"2"], ["x/1.png", "y/2.png"]), "label": label}
    source = opened(put(tmp_path / "x.parquet", columns, features), labels=True)
    assert [entry.label for entry in source.entries()] == expected


def test_the_first_class_label_where_no_column_is_called_label(tmp_path: Path, opened: Open) -> None:
    columns = {"image": pa.array([b"1"]), "fine": pa.array([1]), "coarse": pa.array([0])}
    kind = {"_type": "ClassLabel", "names": ["a", "b"]}
    source = opened(put(tmp_path / "x.parquet", columns, {"fine": kind, "coarse": kind}), labels=True)
    assert only(source).label == "b"


@pytest.mark.parametrize("metadata", [b"", b"[]", b"{", b'{"info": 1}', b'{"info": {"features": {"label": [1]}}}'])
def test_metadata_without_features(tmp_path: Path, opened: Open, metadata: bytes) -> None:
    table = pa.table({"image": pa.array([b"1"]), "label": pa.array([4])})
    pq.write_table(table.replace_schema_metadata({"huggingface": metadata}), tmp_path / "x.parquet")
    assert only(opened(tmp_path / "x.parquet", labels=True)).label == "4"


def test_files_without_images(tmp_path: Path, opened: Open) -> None:
    path = tmp_path / "x.parquet"
    with raises(SourceError, path, "id (int64)", "name (string)"):
        opened(put(path, {"id": pa.array([1]), "name": pa.array(["a"])}))
    with raises(SourceError, path, "a or b", hint="image"):
        opened(put(path, {"a": pa.array([b""]), "b": pa.array([b""])}))
    with raises(SourceError, path, "no rows"):
        listed(opened(put(tmp_path / "x.parquet", {"image": pa.array([], pa.binary())})))


def test_one_huge_row_group_takes_little_memory(tmp_path: Path, opened: Open) -> None:
    data = [bytes([number]) * 2**18 for number in range(256)]
    options: dict[str, Any] = {
        "compression": "NONE",
        "use_dictionary": False,
        "write_batch_size": 4,
        "row_group_size": 10**6,
    }
    source = opened(put(tmp_path / "x.parquet", {"image": pa.array(data)}, **options))
    before = pa.total_allocated_bytes()
    for number, entry in enumerate(source.entries()):
        assert entry.read() == data[number]
        # The batches that are kept, one ahead and the buffers; the row group has 64 MiB.
        assert pa.total_allocated_bytes() - before < parquet_rows.KEPT_BYTES + 2 * parquet_rows.BATCH_BYTES
    assert source.read("00000005.png") == data[5]


def test_threads_that_overtake_each_other(tmp_path: Path, opened: Open) -> None:
    data = [random.Random(number).randbytes(5000) for number in range(500)]
    source = opened(put(tmp_path / "x.parquet", {"image": pa.array(data)}, row_group_size=100))
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(lambda entry: entry.read(), source.entries())) == data


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows in each batch that is decoded."""
    sizes, iterate = list[int](), pq.ParquetFile.iter_batches

    def counted(*arguments: Any, **options: Any) -> Iterator[pa.RecordBatch]:
        for batch in iterate(*arguments, **options):
            sizes.append(len(batch))
            yield batch

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)
    return sizes


@pytest.mark.parametrize("portable", [None, False], ids=["threads", "apart"])
@pytest.mark.parametrize(("padding", "group"), [(0, 20), (100_000, 1000)], ids=["small", "large"])
def test_eight_readers_decode_each_row_once(
    tmp_path: Path, opened: Open, decoded: list[int], padding: int, group: int, portable: bool | None
) -> None:
    """Many small row groups, and one that is larger than the cache."""
    data = [png(number % 256) + number.to_bytes(4, "big") + bytes(padding) for number in range(1000)]
    source = opened(put(tmp_path / "x.parquet", {"image": pa.array(data)}, row_group_size=group, use_dictionary=False))
    found = list(read.read_images(source.entries(), ImageShape(2, 3, 3), workers=8, portable=portable))
    assert [item.sha256 for item in found if isinstance(item, read.Loaded)] == [
        hashlib.sha256(each).hexdigest() for each in data
    ]
    assert sum(decoded) == len(data)


def test_readers_at_several_places_do_not_make_each_other_start_again(
    tmp_path: Path, opened: Open, decoded: list[int]
) -> None:
    """As the actors of a cluster read pages of a listing."""
    data = [number.to_bytes(4, "big") * 50_000 for number in range(400)]
    source = opened(put(tmp_path / "x.parquet", {"image": pa.array(data)}, row_group_size=200, use_dictionary=False))
    entries = list(source.entries())
    for number in range(200):
        for place in (number, 200 + number):
            assert entries[place].read() == data[place]
    assert sum(decoded) == len(data)


@pytest.mark.parametrize("keep", [0, 3, 100, -10])
def test_files_that_are_not_parquet(tmp_path: Path, opened: Open, keep: int) -> None:
    whole = put(tmp_path / "x.parquet", {"image": pa.array([bytes(900)])}).read_bytes()
    (tmp_path / "x.parquet").write_bytes(whole[:keep])
    with raises(SourceError, tmp_path / "x.parquet", "Parquet", hint=""):
        opened(tmp_path / "x.parquet")


def test_damage_in_the_middle_loses_only_the_rows_after_it(tmp_path: Path, opened: Open) -> None:
    data = [random.Random(n).randbytes(1000) for n in range(30)]
    path = put(tmp_path / "x.parquet", {"image": pa.array(data)}, row_group_size=10, use_dictionary=False)
    raw = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(1).column(0).data_page_offset
    raw[start : start + 200] = bytes(200)  # the second row group's page header
    path.write_bytes(raw)
    entries = list(opened(path).entries())
    for number, entry in enumerate(entries):
        if 10 <= number < 20:
            with raises(BadImage, f"x/000000{number}.png", f"row {number}", path):
                entry.read()
        else:
            assert entry.read() == data[number]


def test_labels_that_cannot_be_read_end_the_listing(tmp_path: Path, opened: Open) -> None:
    columns = {"image": pa.array([b"1"] * 4), "label": pa.array([0, 1, 0, 1])}
    path = put(tmp_path / "x.parquet", columns, row_group_size=2, use_dictionary=False)
    raw = bytearray(path.read_bytes())
    start = pq.ParquetFile(path).metadata.row_group(1).column(1).data_page_offset
    raw[start : start + 20] = bytes(20)
    path.write_bytes(raw)
    with raises(SourceError, path, "labels"):
        listed(opened(path, labels=True))


def test_too_large(tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "MAX_BYTES", 4)
    with raises(BadImage, "x/00000000.png", "4 bytes"):
        only(opened(put(tmp_path / "x.parquet", {"image": pa.array([b"12345"])}))).read()


@pytest.mark.parametrize("paths", [["a.png", "b.png"], [None, None]])
@pytest.mark.parametrize("key", ["", "1", "00000002.png", "000000001.png", "../a.png", "-0000001.png", "\udcff.png"])
def test_keys_are_never_trusted(tmp_path: Path, opened: Open, paths: list[str | None], key: str) -> None:
    source = opened(put(tmp_path / "x.parquet", {"image": images([b"1", b"2"], paths)}))
    with raises(BadImage, tmp_path / "x.parquet"):
        source.read(key)


def test_a_name_with_a_dot_in_it(tmp_path: Path, opened: Open) -> None:
    for column in (pa.array([b"yes"]), images([b"yes"], ["a.png"])):
        assert only(opened(put(tmp_path / "x.parquet", {"my.img": column}))).read() == b"yes"


def test_files_of_other_writers(tmp_path: Path, opened: Open) -> None:
    """A column of plain bytes, zstd-compressed, in several row groups and the older page format."""
    buffer = io.BytesIO()
    schema = pa.schema([("image", pa.binary())])
    with pq.ParquetWriter(buffer, schema, compression="zstd", data_page_version="1.0") as writer:
        for number in range(3):
            writer.write_table(pa.table({"image": [b"%d" % number]}, schema))
    (tmp_path / "x.PARQUET").write_bytes(buffer.getvalue())
    assert [entry.read() for entry in opened(tmp_path / "x.PARQUET").entries()] == [b"0", b"1", b"2"]
