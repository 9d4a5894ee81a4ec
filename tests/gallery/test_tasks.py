"""Lists of images to review in Label Studio and FiftyOne."""

import csv
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from retrieval.duplicates.groups import Group
from retrieval.errors import RetrievalError
from retrieval.gallery.tasks import write_duplicate_tasks, write_outlier_tasks
from retrieval.sources import Source
from tests.errors import raises
from tests.gallery.test_gallery import pixels_of
from tests.gallery.test_review import EVIL, member, outlier
from tests.gallery.test_review import sources as sources  # a fixture

GROUPS = [
    Group(member("a.png"), "most bytes", (member(EVIL, exact=True), member("sub/b.png", 0.25))),
    Group(member("gone.png"), "oldest", (member("a.png", 0.5), member("x.png", 0.75, source="far"))),
]
URL = "http://127.0.0.1:8000/images/1.png"


def tasks_of(file: Path) -> list[dict[str, Any]]:
    return [task["data"] for task in json.loads(file.read_text("utf-8"))]


def samples_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def test_duplicates_for_label_studio(tmp_path: Path, sources: dict[str, Source]) -> None:
    file = tmp_path / "duplicates.json"
    assert write_duplicate_tasks(file, GROUPS, sources) == 2  # of those beside gone.png
    first, second = tasks_of(file)
    assert {name: value for name, value in first.items() if name not in ("image", "keep")} == {
        "name": f"pictures/{EVIL}",
        "keep_name": "pictures/a.png",
        "point": f"id of {EVIL}",
        "source": "pictures",
        "path": EVIL,
        "label": None,
        "group": 1,
        "reason": "most bytes",
        "role": "duplicate",
        "distance": 0.0,
        "exact": True,
    }
    assert (second["path"], second["distance"], second["exact"]) == ("sub/b.png", 0.25, False)
    assert pixels_of(first["keep"]).shape == pixels_of(first["image"]).shape
    assert first["image"] != second["image"]


def test_duplicates_for_fiftyone(tmp_path: Path, sources: dict[str, Source]) -> None:
    file = tmp_path / "duplicates.CSV"
    assert write_duplicate_tasks(file, GROUPS, sources) == 2  # gone.png, and that of a source out of reach
    samples = samples_of(file)
    assert [(s["group"], s["role"], s["filepath"]) for s in samples] == [
        ("1", "keep", str(tmp_path / "pictures/a.png")),
        ("1", "duplicate", str(tmp_path / "pictures" / EVIL)),
        ("1", "duplicate", str(tmp_path / "pictures/sub/b.png")),
        ("2", "duplicate", str(tmp_path / "pictures/a.png")),
    ]
    assert [float(sample["distance"]) for sample in samples] == [0, 0, 0.25, 0.5]


def test_outliers(tmp_path: Path, sources: dict[str, Source]) -> None:
    found = [outlier("a.png", label="7"), outlier("gone.png", image_url=URL), outlier("gone.png", error=None)]
    assert write_outlier_tasks(tmp_path / "odd.json", found, sources) == 1
    first, second = tasks_of(tmp_path / "odd.json")
    assert (first["label"], first["score"], first["why"]) == ("7", 12.34, "far from all others")
    assert (second["image"], second["reconstruction_error"]) == (URL, 0.5)
    assert write_outlier_tasks(tmp_path / "odd.csv", found, sources) == 2
    (sample,) = samples_of(tmp_path / "odd.csv")
    assert (sample["filepath"], sample["label"]) == (str(tmp_path / "pictures/a.png"), "7")


@pytest.mark.skipif(sys.platform != "linux", reason="Linux takes any bytes as a name")
def test_a_path_that_is_not_utf8(tmp_path: Path, sources: dict[str, Source]) -> None:
    (tmp_path / "pictures" / os.fsdecode(b"caf\xe9.png")).write_bytes(sources["pictures"].read("a.png"))
    found = [outlier("caf\\xe9.png")]
    assert write_outlier_tasks(tmp_path / "odd.csv", found, sources) == 0
    assert b"/caf\xe9.png," in (tmp_path / "odd.csv").read_bytes()
    assert write_outlier_tasks(tmp_path / "odd.json", found, sources) == 0
    assert tasks_of(tmp_path / "odd.json")[0]["path"] == "caf\\xe9.png"


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_nothing_found_and_nowhere_to_write(tmp_path: Path, sources: dict[str, Source], suffix: str) -> None:
    file = tmp_path / f"none.{suffix}"
    assert write_outlier_tasks(file, [], sources) == 0
    assert (tasks_of(file) if suffix == "json" else samples_of(file)) == []
    with raises(RetrievalError, tmp_path / "no" / file.name, option="tasks", hint=""):
        write_outlier_tasks(tmp_path / "no" / file.name, [], sources)
