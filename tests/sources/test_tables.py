"""Folders of tables: data sets that `datasets` saved, their splits, Parquet shards; and what is damaged."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from retrieval.errors import BadImage, SourceError
from retrieval.sources.folder import Folder
from tests.errors import raises
from tests.sources import test_parquet
from tests.sources.conftest import Open, listed
from tests.sources.conftest import put as put_files
from tests.sources.test_parquet import images

FEATURES = {
    "image": {"_type": "Image"},
    "label": {"_type": "ClassLabel", "names": ["cat", "dog"]},
    "mode": {"_type": "ClassLabel", "names": ["day", "night"]},
}
DATA = [b"zero", b"one", b"two", None, b"four"]
PATHS = ["0.png", "x/1.jpg", "2.png", "3.png", "4.png"]


def columns(paths: list[Any]) -> dict[str, pa.Array]:
    return {
        "image": images(DATA, paths),
        "label": pa.array([0, 1, -1, None, 0]),
        "caption": pa.array(["größer", "", None, "three", "four"]),
        "mode": pa.array([1, 0, -1, None, 1]),
        "score": pa.array([0.5, float("nan"), 1.5, None, 2.5]),
        "seen": pa.array([True, False, None, True, True]),
        "kind": pa.array(["a", "b", "a", None, "b"]).dictionary_encode(),
        "width": pa.array([1] * 5),
        "tags": pa.array([["a"]] * 5),
    }


def save(folder: Path, data: dict[str, pa.Array], files: int = 2) -> Path:
    """What `Dataset.save_to_disk` writes."""
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table(data).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": FEATURES}})})
    names = [f"data-{number:05}-of-{files:05}.arrow" for number in range(files)]
    rows = -(-len(table) // files)
    for number, name in enumerate(names):
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table.slice(number * rows, rows), max_chunksize=2)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")
    return folder


@pytest.mark.parametrize("files", [1, 3])
@pytest.mark.parametrize("paths", [PATHS, [None, *PATHS[1:]], ["0.png"] * 5])
def test_a_saved_data_set(tmp_path: Path, opened: Open, files: int, paths: list[Any]) -> None:
    source = opened(save(tmp_path / "my pets", columns(paths), files))
    assert (source.name, source.spec, source.whole) == ("my-pets", str(tmp_path / "my pets"), True)
    entries = list(source.entries())
    keys = PATHS if paths == PATHS else [f"{number:08}.png" for number in range(5)]
    assert [(e.key, e.label) for e in entries] == list(zip(keys, ["cat", "dog", None, None, "cat"], strict=True))
    assert [e.fields for e in entries] == [
        {"caption": "größer", "mode": "night", "score": 0.5, "seen": True, "kind": "a"},
        {"mode": "day", "seen": False, "kind": "b"},
        {"score": 1.5, "kind": "a"},
        {"caption": "three", "seen": True},
        {"caption": "four", "mode": "night", "score": 2.5, "seen": True, "kind": "b"},
    ]
    for entry, data in reversed(list(zip(entries, DATA, strict=True))):
        assert entry.mtime_ns > 0
        if data is None:
            with raises(BadImage, f"my-pets/{entry.key}", "row 3", source.spec):
                entry.read()
        else:
            assert entry.read() == source.read(entry.key) == data
    assert [source.has(key) for key in (keys[4], "00000005.png", "", "../x.png")] == [True, False, False, False]
    with raises(BadImage, "my-pets/no.png", source.spec):
        source.read("no.png")


def test_images_alone_and_labels_from_their_paths(tmp_path: Path, opened: Open) -> None:
    folder = save(tmp_path / "pets", {"image": images(DATA, PATHS)})
    assert [(e.label, e.fields) for e in opened(folder).entries()] == [(None, None)] * 5
    assert [e.label for e in opened(folder, labels=True).entries()] == [None, "x", None, None, None]


def test_splits(tmp_path: Path, opened: Open) -> None:
    for split in ("train", "test"):
        save(tmp_path / "pets" / split, columns(PATHS))
    (tmp_path / "pets/dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    source = opened(tmp_path / "pets")
    assert listed(source) == [f"{split}/{path}" for split in ("train", "test") for path in PATHS]
    assert {entry.source for entry in source.entries()} == {"pets"}
    assert source.read("test/x/1.jpg") == b"one"
    assert [source.has(key) for key in ("test/x/1.jpg", "x/1.jpg", "valid/0.png")] == [True, False, False]
    for key, where in (("test/3.png", "test"), ("valid/0.png", ""), ("train", "")):
        with raises(BadImage, f"pets/{key}", tmp_path / "pets" / where):
            source.read(key)
    assert listed(opened(tmp_path / "pets/test")) == PATHS
    source.check_unchanged()
    os.utime(tmp_path / "pets/test/data-00001-of-00002.arrow", (1, 1))
    with raises(SourceError, tmp_path / "pets/test", "changed", hint=""):
        source.check_unchanged()


def test_a_folder_of_parquet_shards(tmp_path: Path, opened: Open) -> None:
    folder = tmp_path / "pets"
    put_files(folder, "README.md", ".cache/x.png")
    for number in (1, 0):
        test_parquet.put(folder / f"train-{number}-of-2.parquet", columns(PATHS), FEATURES)
    source = opened(folder, labels=True)
    entries = list(source.entries())
    assert [e.key for e in entries] == [f"train-{number}-of-2/{path}" for number in (0, 1) for path in PATHS]
    assert [e.label for e in entries[:2]] == ["cat", "dog"]
    assert entries[4].read() == source.read("train-0-of-2/4.png") == b"four"
    source.check_unchanged()
    (folder / "train-1-of-2.parquet").unlink()
    with raises(SourceError, folder, "changed", hint=""):
        source.check_unchanged()


@pytest.mark.parametrize("beside", ["a.png", "b/a.png", "no-suffix", "c.svg"])
def test_a_folder_that_may_hold_image_files_is_an_ordinary_one(tmp_path: Path, opened: Open, beside: str) -> None:
    put_files(tmp_path / "pets", "metadata.parquet", beside)
    assert isinstance(opened(tmp_path / "pets"), Folder)


def _cut(folder: Path, size: int) -> None:
    file = folder / "data-00001-of-00002.arrow"
    os.truncate(file, size if size > 0 else file.stat().st_size + size)


def _make_pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _state(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "state.json").write_text(text)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda folder: _cut(folder, -8), ["data-00001-of-00002.arrow", "Arrow"]),
        (lambda folder: _cut(folder, -400), ["data-00001-of-00002.arrow", "Arrow"]),
        (lambda folder: _cut(folder, 3), ["data-00001-of-00002.arrow", "Arrow"]),
        (lambda folder: (folder / "data-00001-of-00002.arrow").unlink(), ["data-00001-of-00002.arrow"]),
        (lambda folder: _make_pipe(folder / "data-00001-of-00002.arrow"), ["data-00001-of-00002.arrow", "Arrow"]),
        (_state("{"), ["state.json"]),
        (_state("[" * 100_000), ["state.json"]),
        (_state('{"_data_files": 7}'), ["state.json"]),
        (_state('{"_data_files": []}'), ["state.json"]),
        (_state('{"_data_files": ["x.arrow"]}'), ["x.arrow"]),
        (_state('{"_data_files": [{"filename": "../x.arrow"}]}'), ["state.json", "'../x.arrow'"]),
        (_state('{"_data_files": [{"filename": 7}]}'), ["state.json", "7 is"]),
        (_state('{"_data_files": [{"filename": "a.arrow"}], "_indices_data_files": [{}]}'), []),
    ],
)
def test_a_damaged_data_set(tmp_path: Path, opened: Open, damage: Callable[[Path], object], named: list[str]) -> None:
    folder = save(tmp_path / "pets", columns(PATHS))
    damage(folder)
    files = [folder / name if name.endswith((".json", ".arrow")) and "/" not in name else name for name in named]
    with raises(SourceError, *files, hint=""):
        opened(folder)


def test_offsets_that_lead_out_of_the_file(tmp_path: Path, opened: Open) -> None:
    folder = save(tmp_path / "pets", {"image": pa.array([b"one", b"two"])}, files=1)
    file = folder / "data-00000-of-00001.arrow"
    offsets = b"".join(n.to_bytes(4, "little") for n in (0, 3, 6))
    raw = file.read_bytes()
    assert raw.count(offsets) == 1
    file.write_bytes(raw.replace(offsets, offsets[:8] + (2**30).to_bytes(4, "little")))
    with raises(SourceError, folder, "Arrow", hint="complete"):
        opened(folder)


def test_a_data_set_without_images(tmp_path: Path, opened: Open) -> None:
    with raises(SourceError, tmp_path / "texts", "text", "string"):
        opened(save(tmp_path / "texts", {"text": pa.array(["a", "b"])}))
    with raises(SourceError, tmp_path / "none", "no rows"):
        listed(opened(save(tmp_path / "none", {"image": images([], [])}, files=1)))
