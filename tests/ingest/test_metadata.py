"""Fields from a CSV or Parquet file, and what is refused."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from retrieval.errors import UsageError
from retrieval.ingest.metadata import load_metadata
from retrieval.schema.records import Payload, point_id
from retrieval.store.validation import MOST_PAYLOAD
from tests.cli.conftest import Call
from tests.errors import mentions, raises
from tests.ingest.jobs import Place, make_digits


def loaded(file: Path, key_column: str = "path", sources: Sequence[str] = ("cats",)) -> dict[str, Payload]:
    """The fields of the first source's images, by key."""
    said = load_metadata(file, key_column, sources)
    return {key: fields for (source, key), fields in said.items() if source == sources[0]}


def test_csv(tmp_path: Path) -> None:
    file = tmp_path / "about.csv"
    file.write_text('\ufeffpath,label,note\na/0.png,7,"two, words"\nb/1.png,,\n', "utf-8")
    assert loaded(file) == {"a/0.png": {"label": "7", "note": "two, words"}, "b/1.png": {}}


def test_a_field_of_several_lines_and_one_as_long_as_may_be(tmp_path: Path) -> None:
    file = tmp_path / "about.csv"
    longest = "x" * 2000
    file.write_bytes(f'path,note,more\r\na.png,"one\r\ntwo",{longest}\r\n'.encode())
    assert loaded(file) == {"a.png": {"note": "one\r\ntwo", "more": longest}}


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    file = tmp_path / "about.parquet"
    columns = {
        "file": ["a.png", "b.png"],
        "label": [3, None],
        "weight": [2.5, None],
        "when": [dt.date(1970, 1, 1), None],
    }
    parquet.write_table(pa.table(columns), file)
    assert loaded(file, "file") == {"a.png": {"label": "3", "weight": 2.5, "when": "1970-01-01"}, "b.png": {}}


@pytest.mark.parametrize(
    ("text", "named", "option"),
    [
        ("file,label\na.png,7\n", ["'path'", "file, label"], "key_column"),
        ("path,sha256\na.png,7\n", ["'sha256'"], ""),
        ("path,label\na.png,7\na.png,8\n", ["row 2", "a.png"], ""),
        ("path,label\na.png,7,8\n", ["row 1", "more"], ""),
        ("path,label\na.png\n", ["row 1", "fewer"], ""),
        ("path,label\n", ["no rows"], ""),
        ("path,source,label\na.png,cats,7\na.png,,8\n", ["row 2", "source"], ""),
        ("path,note\na.png," + "x" * 2001 + "\n", ["row 1", "note", 2001, 2000], ""),
        ('path,note\na.png,"x', ["CSV"], ""),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, named: list[object], option: str) -> None:
    file = tmp_path / "about.csv"
    file.write_text(text)
    with raises(UsageError, file, *named, option=option):
        loaded(file)


@pytest.mark.parametrize(
    ("text", "key_column"),
    [("path,note\na.png,7\n", "path"), ("source,note\na.png,7\n", "source")],
    ids=["no such column", "it is the key"],
)
def test_several_sources_need_a_column_that_tells_them_apart(tmp_path: Path, text: str, key_column: str) -> None:
    file = tmp_path / "about.csv"
    file.write_text(text)
    assert loaded(file, key_column) == {"a.png": {"note": "7"}}
    with raises(UsageError, file, "'source'", "a.png", "cats, dogs", hint=""):
        loaded(file, key_column, ["cats", "dogs"])


def test_rows_are_for_the_source_that_they_name(tmp_path: Path) -> None:
    file = tmp_path / "about.csv"
    file.write_text("path,source,note\na.png,cats,1\na.png,dogs,2\na.png,birds,3\na.png,birds,4\n")
    both = load_metadata(file, "path", ["cats", "dogs"])
    assert both == {("cats", "a.png"): {"note": "1"}, ("dogs", "a.png"): {"note": "2"}}
    assert load_metadata(file, "path", ["dogs"]) == {("dogs", "a.png"): {"note": "2"}}
    assert load_metadata(file, "path", ["fish"]) == {}


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with raises(UsageError, tmp_path / "none.csv", "CSV", "No such file or directory"):
        loaded(tmp_path / "none.csv")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with raises(UsageError, tmp_path / "bad.parquet", "Parquet"):
        loaded(tmp_path / "bad.parquet")


def test_an_image_with_too_much_metadata_costs_itself(place: Place, call: Call, tmp_path: Path) -> None:
    """600 columns of 2,000 characters; the others have 70."""
    folder = make_digits(tmp_path / "digits", 300)
    keys = sorted(file.relative_to(folder).as_posix() for file in folder.glob("*/*.png"))
    columns = [f"column {number:03d}" for number in range(600)]
    rows = [[key, *("x" * 2000 for _ in range(600 if key == keys[7] else 70))] for key in keys]
    table = tmp_path / "metadata.csv"
    filled = [",".join([*row, *[""] * (601 - len(row))]) for row in rows]
    table.write_text("\n".join([",".join(["path", *columns]), *filled]))
    new = call("ingest", folder, "--metadata", table, "--json", *place.options())
    assert (new.code, new.object["encoded"], place.stored) == (3, 300 - 1, 300 - 1)
    (refused,) = new.object["refused"]
    assert refused["path"] == keys[7]
    assert mentions(refused["reason"], MOST_PAYLOAD)
    assert call("ingest", folder, "--json", *place.options()).object["encoded"] == 1
    touched = call("ingest", folder, "--metadata", table, "--json", *place.options())
    assert (touched.code, [item["path"] for item in touched.object["refused"]]) == (3, [keys[7]])
    assert "column 000" not in place.points()[point_id("digits", keys[7])].payload
