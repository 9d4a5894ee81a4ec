"""`retrieval duplicates` with a real model: duplicates are found, printed, moved away and moved back."""

import csv
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Call
from tests.duplicates.digits import put
from tests.gallery.test_gallery import Page
from tests.images.samples import file_of

COPIES = 12


@pytest.fixture
def planted(home: Path, pictures: Path, call: Call, tmp_path: Path) -> Path:
    """A folder of copies of two of the images, ingested as another source: exact ones, and a JPEG."""
    first, second = sorted(pictures.rglob("*.png"))[:2]
    files = {f"{n}.png": first.read_bytes() for n in range(COPIES)}
    files["odd\nname.jpg"] = file_of(Image.open(second), "JPEG", quality=85)
    root = put(tmp_path / "planted", files)
    done = call("ingest", root)
    assert done.code == 0, done.err
    return root


def tree(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_found_and_told_in_every_form(planted: Path, call: Call, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = call("duplicates", "--json", "--html", page)
    assert done.code == 0, done.err
    exact, near = sorted(done.objects, key=lambda group: -len(group["others"]))
    assert (len(done.objects), len(exact["others"]), len(near["others"])) == (2, COPIES, 1)
    assert all(other["exact"] for other in exact["others"])
    assert {near["keep"]["path"], near["others"][0]["path"]} > {"odd\nname.jpg"}
    assert near["others"][0]["exact"] is False
    assert f"213 images: 2 groups, {COPIES + 1} images can be removed" in done.err
    assert len(Page(page).all("img")) == COPIES + 3
    assert len(tree(planted)) == COPIES + 1  # nothing is deleted

    assert json.loads(call("duplicates", "--output", "json").out) == done.objects
    rows = list(csv.DictReader(io.StringIO(call("duplicates", "--output", "csv").out, newline="")))
    assert [(row["keep"].partition("/")[2], row["id"]) for row in rows] == [
        (group["keep"]["path"], other["id"]) for group in done.objects for other in group["others"]
    ]
    names = call("duplicates", "--output", "paths0").out.split("\0")[:-1]
    assert len(names) == COPIES + 1
    assert all(Path(name).is_file() for name in names)
    table = call("duplicates").out
    assert table.count("keep  ") == 2
    assert table.count("exact copy") == COPIES


def test_moved_away_and_put_back(planted: Path, call: Call, tmp_path: Path, pictures: Path) -> None:
    before, theirs, folder = tree(planted), tree(pictures), tmp_path / "quarantine"
    done = call("duplicates", "--apply", folder, "--max-distance", 0)
    assert done.code == 0, done.err
    assert f"{COPIES} files moved to {folder}; undo with: retrieval duplicates --undo {folder}/undo.jsonl" in done.out
    moved = {name for name in tree(folder) if name != "undo.jsonl"}
    assert len(moved) == COPIES
    assert len(tree(planted)) + len(tree(pictures)) == len(before) + len(theirs) - COPIES
    back = call("duplicates", "--undo", folder / "undo.jsonl")
    assert (back.code, back.out) == (0, f"{COPIES} files put back\n")
    assert (tree(planted), tree(pictures)) == (before, theirs)
    assert call("duplicates", "--undo", folder / "undo.jsonl").out == "0 files put back\n"


def test_what_is_left_where_it_is_is_named(planted: Path, call: Call, tmp_path: Path, pictures: Path) -> None:
    theirs, folder = tree(pictures), tmp_path / "quarantine"
    (planted / "5.png").write_bytes(b"something else by now")
    done = call("duplicates", "--apply", folder, "--max-distance", 0)
    assert done.code == 3
    assert "5.png: " in done.err
    assert (planted / "5.png").read_bytes() == b"something else by now"
    assert call("duplicates", "--undo", folder / "undo.jsonl").code == 0
    assert tree(pictures) == theirs


def test_by_percentile(planted: Path, call: Call) -> None:
    few, many = (call("duplicates", "--json", "--max-percentile", share).objects for share in (0, 60))
    assert sum(len(group["others"]) for group in many) > 2 * sum(len(group["others"]) for group in few)
    assert sum(len(group["others"]) for group in few) >= COPIES


def test_sources_that_have_moved(planted: Path, call: Call, tmp_path: Path) -> None:
    planted.rename(tmp_path / "moved")
    done = call("duplicates", "--json")
    assert done.code == 0, done.err
    assert f"of {COPIES + 1} unreadable images only the exact copies are found" in done.err
    (group,) = done.objects
    assert len(group["others"]) == COPIES


def test_options_that_do_not_go_together(home: Path, call: Call, tmp_path: Path) -> None:
    call("duplicates", "--undo", "undo.jsonl", "--apply", tmp_path).error(2)
    call("duplicates", "--undo", "nosuch").error(2, "nosuch", "undo.jsonl", option="--undo")
