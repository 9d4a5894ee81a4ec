"""`duplicates`, `outliers` and `explain` as a user writes them."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from retrieval.images.decode import encode_png
from retrieval.ops.reviews import load_review
from tests.cli.conftest import Call, copy, done_well, run


@pytest.fixture
def twice(trained_home: Path, folder: Path) -> Path:
    """The folder with one picture copied, and one of noise, all of it ingested."""
    files = sorted(folder.glob("*/*.png"))
    shutil.copy(files[3], folder / "copy.png")
    with_noise(folder)
    done_well("ingest", folder, home=trained_home)
    return folder


def with_noise(folder: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (28, 28, 1), dtype=np.uint8)
    (folder / "noise.png").write_bytes(encode_png(noise))


def test_duplicates_are_listed_moved_and_put_back(twice: Path, trained_home: Path, tmp_path: Path) -> None:
    original = sorted(twice.glob("*/*.png"))[3].relative_to(twice).as_posix()
    done = done_well("duplicates", "--json", home=trained_home)
    (group,) = done.objects
    assert {group["keep"]["path"], group["others"][0]["path"]} == {original, "copy.png"}
    assert group["others"][0]["exact"]
    assert "1 group, 1 image can be removed" in done.err
    review = load_review(trained_home / "reviews", "images", "duplicates")
    assert review is not None
    assert [[image.id for image in row] for row in review.rows] == [[group["keep"]["id"], group["others"][0]["id"]]]
    rows = list(csv.DictReader(io.StringIO(done_well("duplicates", "--output", "csv", home=trained_home).out)))
    assert [row["duplicate"] for row in rows] == [f"pictures/{group['others'][0]['path']}"]
    assert json.loads(done_well("duplicates", "--output", "json", home=trained_home).out) == [group]
    gone = twice / group["others"][0]["path"]
    assert done_well("duplicates", "--output", "paths0", home=trained_home).out == f"{gone}\0"

    done_well("duplicates", "--tasks", tmp_path / "tasks.json", home=trained_home)
    (task,) = json.loads((tmp_path / "tasks.json").read_text("utf-8"))
    assert task["data"]["keep_name"] == f"pictures/{group['keep']['path']}"
    done_well("duplicates", "--tasks", tmp_path / "tasks.csv", home=trained_home)
    samples = list(csv.DictReader(io.StringIO((tmp_path / "tasks.csv").read_text("utf-8"))))
    expected = [str(twice / group["keep"]["path"]), str(gone)]
    assert [sample["filepath"] for sample in samples] == expected

    page, aside = tmp_path / "page.html", tmp_path / "aside"
    content = gone.read_bytes()
    done_well("duplicates", "--html", page, "--apply", aside, home=trained_home)
    assert not gone.exists()
    assert (aside / "pictures" / group["others"][0]["path"]).read_bytes() == content
    assert "Nothing was deleted" in page.read_text("utf-8")
    done_well("duplicates", "--undo", aside / "undo.jsonl", home=trained_home)
    assert gone.read_bytes() == content
    run("duplicates", "--undo", "x", "--apply", "y", home=trained_home).error(2, "--undo", "--apply")
    run("duplicates", "--tasks", "tasks.xml", home=trained_home).error(2, "tasks.xml", ".json", ".csv")


def test_a_distance_in_place_of_pixels(twice: Path, trained_home: Path) -> None:
    none = done_well("duplicates", "--max-distance", 0, "--json", home=trained_home)
    assert len(none.objects) == 1
    many = done_well("duplicates", "--max-percentile", 50, "--json", home=trained_home)
    assert sum(len(group["others"]) for group in many.objects) > 20


def test_noise_is_the_oddest_of_all(learned: Path, folder: Path, own_home: Path, tmp_path: Path) -> None:
    home, page = copy(learned, own_home), tmp_path / "odd.html"
    with_noise(folder)
    done_well("ingest", folder, home=home)
    found = done_well("outliers", "--limit", 3, "--json", "--html", page, home=home).objects
    assert found[0]["path"] == "noise.png"
    assert len(found) == 3
    assert page.read_text("utf-8").count("<b>reconstruction</b>") == 3
    shown = done_well("outliers", "--limit", 3, home=home).out
    assert "pictures/noise.png" in shown.splitlines()[1]


def test_explain_says_what_search_says(home: Path, pictures: Path, tmp_path: Path, call: Call) -> None:
    one = min(pictures.glob("*/*.png"))
    second = call("search", one, "-k", 2, "--json").object["hits"][1]
    stored, page = f"{second['source']}/{second['path']}", tmp_path / "page.html"
    found = call("explain", one, stored, "--json").object
    assert found["distance"] == pytest.approx(second["distance"], abs=1e-5)
    assert (found["rank_of_b_for_a"], found["percentile"]) == (2, second["percentile"])
    shown = call("explain", one, stored, "--html", page).out
    assert f"{stored} is number 2 of the 1,000 nearest to {one}" in shown
    assert page.read_text("utf-8").count("<b>reconstruction</b>") == 2
    call("explain", one, "pictures/nothing.png").error(2, "pictures/nothing.png")
