"""`evaluate` from the command line: what it prints, the page it writes, and what it refuses."""

import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import Locked
from retrieval.evaluate import baselines, job
from retrieval.model import saved_models
from retrieval.model.autoencoder import build, to_flat
from retrieval.model.config import ModelConfig
from tests.cli.conftest import PICTURES, Call, Trained
from tests.gallery.test_gallery import Page

NUMBERS = ("p_at_k", "recall_at_k", "map", "r_precision", "copy_recall_at_1", "copy_median_rank", "effective_rank")


@pytest.fixture(autouse=True)
def small_trunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baselines, "TRUNK_SIDE", 32)


def test_with_labels_as_json(home: Path, pictures: Path, trained: Trained, call: Call) -> None:
    done = call("evaluate", pictures, "--labels", "folder", "-k", 3, "--json")
    assert done.code == 0, done.err
    said = done.object
    mark = trained.said["fingerprint"]
    assert (said["model"], said["indexed"], said["queries"], said["k"]) == (mark, PICTURES, PICTURES, 3)
    names = [scores["codes"] for scores in said["scores"]]
    assert names == [f"model {mark[:8]}", "raw pixels", "PCA", "perceptual hash", "frozen trunk", "untrained"]
    for scores in said["scores"]:
        assert all(scores[name] > 0 for name in NUMBERS)
        assert all(scores[name] <= 1 for name in NUMBERS[:5])
    assert {row["label"] for row in said["classes"]} == set("0123456789")
    assert said["engine"]["engine"] == "embedded"
    assert said["engine"]["points"] == PICTURES
    assert said["engine"]["recall"] == 1
    assert said["refused"] == []


def test_the_verdict_is_kept_and_search_says_that_it_is_weak(home: Path, pictures: Path, call: Call) -> None:
    query = min(pictures.glob("*/*.png"))
    assert "weak" not in call("search", query, "--json").object
    known = call("status", "--json").object["verdict"]
    assert (known["metric"], known["baseline"]) == ("P@5", None), "ingest measures the labels"
    said = call("evaluate", pictures, "--labels", "folder", "--json").object
    known = call("status", "--json").object
    assert known["verdict"]["value"] == said["scores"][0]["p_at_k"]
    assert (known["verdict"]["metric"], known["verdict"]["queries"]) == ("P@5", PICTURES)
    assert f"quality     {said['verdict']}" in call("status").out
    call("evaluate", pictures, "--json")  # without labels
    assert call("status", "--json").object["verdict"] == known["verdict"], "labels tell more than copies"
    call("evaluate", pictures, "--labels", "folder", "-k", 150, "--json")  # so many, and most are wrong
    weak = call("status", "--json").object["weak"]
    assert weak.startswith("retrieval is weak here: P@150 0.")
    assert weak in call("status").out
    done = call("search", query, "--json")
    assert done.object["weak"] == weak
    assert len(done.object["hits"]) == 5
    assert done.err.count(weak) == 1
    done = call("search", query, query, "--html", home.parent / "page.html")
    assert f"warning: {weak}; see: retrieval status" in done.err
    assert weak not in done.out
    assert weak[1:] in Page(home.parent / "page.html").text


def test_a_verdict_that_cannot_be_recorded_is_a_note(
    home: Path, pictures: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(*_: object) -> None:
        raise Locked("another job holds it")

    monkeypatch.setattr(job, "record_verdict", locked)
    done = call("evaluate", pictures, "--labels", "folder", "--json")
    assert done.code == 0, done.err
    assert "note: the verdict is not recorded with the collection: another job holds it" in done.err
    assert any("not recorded" in note for note in done.object["notes"])


def test_for_people(home: Path, pictures: Path, call: Call) -> None:
    done = call("evaluate", pictures, "--labels", "folder")
    assert done.code == 0, done.err
    for words in ("P@5", "recall@5", "mAP", "raw pixels", "PCA", "untrained", "By label", "engine returned 1.0000"):
        assert words in done.out
    assert re.search(
        r"^(learning helped|learning did not help|no clear difference): P@5 0\.\d{4} against", done.out, re.M
    )
    assert max(map(len, done.out.partition("By label")[0].splitlines())) <= 80
    assert "\x1b" not in done.out


def test_one_source_asks_another(trained_home: Path, pictures: Path, call: Call) -> None:
    done = call("evaluate", pictures, "--labels", "folder", "--queries", "mnist-sample:test", "--limit", 40, "--json")
    assert done.code == 0, done.err
    assert (done.object["queries"], done.object["indexed"]) == (40, PICTURES)
    assert done.object["queries_from"] == ["mnist-sample:test"]
    assert done.object["scores"][0]["p_at_k"] > 0.3
    assert "note: the engine is not compared" in done.err  # there is no collection, and none was named
    assert done.object["engine"] is None


def test_without_labels(trained_home: Path, pictures: Path, tmp_path: Path, call: Call) -> None:
    done = call("evaluate", pictures, "--html", tmp_path / "page.html")
    assert done.code == 0, done.err
    assert "note: no labels" in done.err
    assert "P@5" not in done.out
    assert "copies that find their original" in done.out
    page = Page(tmp_path / "page.html")
    assert page.text.count("its original has rank ") == 50
    assert [page.text.count(head) for head in ("distorted copy", "Nearest first")] == [50, 0]


def test_the_page(home: Path, folder: Path, tmp_path: Path, call: Call) -> None:
    evil = folder / "<script>alert(1)"
    (folder / "7").rename(evil)
    done = call("evaluate", folder, "--labels", "folder", "--html", tmp_path / "page.html", "--json")
    assert done.code == 0, done.err
    page = Page(tmp_path / "page.html")
    assert done.object["verdict"][1:] in page.text
    for scores in done.object["scores"]:
        assert scores["codes"] in page.text
        assert f"{scores['p_at_k']:.4f}" in page.text
    assert len(page.all("table")) == 2
    assert len(page.all("section")) == 50
    assert len(page.all("img")) == 50 * 6
    assert "average precision" in page.text
    assert "The 50 worst queries" in page.text
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.elements}
    assert "<script>alert(1)" in page.text  # as text
    assert (tmp_path / "page.html").stat().st_size < 2_000_000


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_the_page_is_written_though_nobody_reads_the_numbers(
    form: list[str], trained_home: Path, pictures: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, its = os.pipe()
    os.close(reader)
    with os.fdopen(its, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        done = call("evaluate", pictures / "5", "--html", tmp_path / "page.html", *form)
    assert done.code == 0, done.err
    assert Page(tmp_path / "page.html").text.count("its original has rank ") > 10


def test_a_picture_that_cannot_be_read(home: Path, folder: Path, call: Call) -> None:
    (folder / "0" / "bad.png").write_text("no picture")
    done = call("evaluate", folder, "--labels", "folder", "--json")
    assert done.code == 3
    assert [item["path"] for item in done.object["refused"]] == ["0/bad.png"]
    assert "refused: pictures/0/bad.png: not an image" in done.err
    assert done.object["indexed"] == PICTURES


def test_a_collection_of_another_model(home: Path, pictures: Path, call: Call) -> None:
    config = ModelConfig((16, 20), 3, 8, (4, 4), (0, 0))
    weights = {name: np.asarray(array) for name, array in to_flat(build(config, 0)[1]).items()}
    other = saved_models.save(home / "models", config, weights, {}, b"").fingerprint[:8]
    done = call("evaluate", pictures, "--limit", 20, "--model", other, "--json")  # pictures come in that model's size
    assert done.code == 0, done.err
    assert "note: the engine is not compared with brute force: collection images-" in done.err
    assert [scores["dim"] for scores in done.object["scores"]] == [8, 16 * 20 * 3, 8, 64, 1280, 8]
    assert other in call("evaluate", pictures, "--model", other, "--alias", "images").error()


def test_what_is_refused(home: Path, pictures: Path, tmp_path: Path, call: Call) -> None:
    call("evaluate", pictures, "-k", 0).error(2, 0, 10_000, option="--k")
    call("evaluate", pictures, "-k", PICTURES).error(2, PICTURES, PICTURES - 1, option="--k")
    call("evaluate", pictures, "--alias", "others").error(1, "'others'")
    call("evaluate", pictures, "--labels", "colour").error(2, "colour", option="--labels")
    (tmp_path / "one").mkdir()
    shutil.copy(next(pictures.rglob("*.png")), tmp_path / "one")
    call("evaluate", tmp_path / "one").error(1, 1, 2)
    call("evaluate", pictures, "--model", "0000beef").error(1, "0000beef", option="--model")


@pytest.mark.parametrize("limit", ["0", "-1"])
def test_a_limit_that_is_none(limit: str, call: Call) -> None:
    assert call("evaluate", "mnist-sample", "--limit", limit).code == 2


def test_a_page_that_cannot_be_written_loses_no_numbers(
    trained_home: Path, pictures: Path, tmp_path: Path, call: Call
) -> None:
    done = call("evaluate", pictures, "--limit", 10, "--html", tmp_path / "nowhere" / "page.html")
    assert done.code == 1
    assert "copies" in done.out
    assert "cannot be written" in done.err
