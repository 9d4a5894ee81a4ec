"""Fields from a CSV or Parquet file, and what is refused."""

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from retrieval.errors import UsageError
from retrieval.ingest.metadata import load_metadata


def test_csv(tmp_path: Path) -> None:
    file = tmp_path / "about.csv"
    file.write_text('\ufeffpath,label,note\na/0.png,7,"two, words"\nb/1.png,,\n', "utf-8")
    assert load_metadata(file, "path") == {"a/0.png": {"label": "7", "note": "two, words"}, "b/1.png": {}}


def test_a_field_of_several_lines_and_one_as_long_as_may_be(tmp_path: Path) -> None:
    file = tmp_path / "about.csv"
    longest = "x" * 2000
    file.write_bytes(f'path,note,more\r\na.png,"one\r\ntwo",{longest}\r\n'.encode())
    assert load_metadata(file, "path") == {"a.png": {"note": "one\r\ntwo", "more": longest}}


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    file = tmp_path / "about.parquet"
    columns = {
        "file": ["a.png", "b.png"],
        "label": [3, None],
        "weight": [2.5, None],
        "when": [dt.date(1970, 1, 1), None],
    }
    parquet.write_table(pa.table(columns), file)
    assert load_metadata(file, "file") == {"a.png": {"label": "3", "weight": 2.5, "when": "1970-01-01"}, "b.png": {}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,label\na.png,7\n", "no column 'path'; there are file, label"),
        ("path,sha256\na.png,7\n", "column 'sha256' is a field that retrieval fills itself"),
        ("path,label\na.png,7\na.png,8\n", "row 2: a.png came before"),
        ("path,label\na.png,7,8\n", "row 1: more fields than the heading"),
        ("path,label\na.png\n", "row 1: fewer fields than the heading"),
        ("path,label\n", "holds no rows"),
        ("path,note\na.png," + "x" * 2001 + "\n", "note has 2,001 characters; at most 2,000"),
        ('path,note\na.png,"x', "cannot be read as CSV"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "about.csv"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        load_metadata(file, "path")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read as CSV"):
        load_metadata(tmp_path / "none.csv", "path")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(UsageError, match="cannot be read as Parquet"):
        load_metadata(tmp_path / "bad.parquet", "path")
