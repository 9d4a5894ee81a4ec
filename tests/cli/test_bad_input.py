"""Bad input, case by case: one line that says what, where and what to do, the right exit code, and nothing lost."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from retrieval.model import saved_models
from tests.cli.conftest import PICTURES, Call, Done, Trained, run
from tests.ingest.jobs import make_model


@pytest.mark.parametrize("job", [("train",), ("ingest",), ("search",)])
def test_an_empty_folder(job: tuple[str], home: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "hollow").mkdir()
    error = call(*job, tmp_path / "hollow").error()
    assert str(tmp_path / "hollow") in error
    assert "no files" in error


@pytest.mark.parametrize("job", [("train",), ("ingest",), ("search",)])
def test_no_image_among_the_files(job: tuple[str], home: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("a")
    error = call(*job, tmp_path / "texts").error()
    assert str(tmp_path / "texts") in error
    assert ".png" in error


def test_an_empty_folder_makes_no_collection(trained_home: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "hollow").mkdir()
    call("ingest", tmp_path / "hollow").error()
    assert call("status", "--json").object["collection"] is None


@pytest.mark.parametrize("job", [("train",), ("ingest",), ("search",)])
def test_a_missing_path(job: tuple[str], home: Path, tmp_path: Path, call: Call) -> None:
    call(*job, tmp_path / "nowhere.png").error(1, tmp_path / "nowhere.png", "no such file")


@pytest.mark.parametrize("k", [0, -1, 10**9])
def test_k_out_of_range(k: int, home: Path, pictures: Path, call: Call) -> None:
    call("search", next(pictures.glob("*/*.png")), "-k", k).error(2, k, option="--k")


def test_no_model_yet(pictures: Path, call: Call, own_home: Path) -> None:
    error = call("ingest", pictures).error()
    assert str(own_home / "models") in error
    assert "retrieval train" in error


@pytest.mark.parametrize("alias", ["images", "others"])
def test_no_collection_yet(alias: str, trained_home: Path, pictures: Path, call: Call) -> None:
    error = call("search", next(pictures.glob("*/*.png")), "--alias", alias).error()
    assert repr(alias) in error
    assert "retrieval ingest SOURCE" in error
    assert ("--alias others" in error) == (alias == "others")


@pytest.mark.parametrize("model", ["0000beef", "no/such/folder", "ab"])
def test_an_unknown_model(model: str, home: Path, pictures: Path, trained: Trained, call: Call) -> None:
    error = call("ingest", pictures, "--model", model).error()
    assert model in error
    assert trained.said["fingerprint"][:8] in error


def test_a_collection_made_by_another_model(home: Path, pictures: Path, trained: Trained, call: Call) -> None:
    other = make_model(home, seed=1).fingerprint[:8]
    mark = trained.said["fingerprint"][:8]
    assert other != mark
    one = next(pictures.glob("*/*.png"))
    for job in (("ingest", pictures), ("search", one)):
        error = call(*job, "--model", other).error()
        assert mark in error
        assert other in error
        assert f"--model {mark}" in error
        assert "retrieval reindex --model" in error
        assert call(*job).code == 0, "without --model, the collection's own is meant"
    assert call("status", "--json").object["points"] == PICTURES
    shutil.rmtree(saved_models.find(home / "models", mark))
    for job in (("ingest", pictures), ("search", one)):
        call(*job).error(1, mark, home / "models", "retrieval reindex --model")


def test_an_alias_that_is_a_collections_name(home: Path, pictures: Path, call: Call) -> None:
    collection = call("status", "--json").object["collection"]
    for job in (("ingest", pictures), ("search", next(pictures.glob("*/*.png")))):
        call(*job, "--alias", collection).error(1, repr(collection), "--alias")


@pytest.mark.parametrize("alias", ["a/b", "", "..", "x" * 300])
def test_an_alias_that_is_no_name(alias: str, trained_home: Path, pictures: Path, call: Call) -> None:
    done = call("ingest", pictures, "--alias", alias)
    assert done.code in (1, 2)
    assert "(a bug;" not in done.err
    assert done.err.startswith("error: ")


def test_two_sources_of_one_name(home: Path, pictures: Path, folder: Path, call: Call) -> None:
    error = call("ingest", pictures, folder).error(2)
    assert "'pictures'" in error
    assert "--name" in error


def test_one_name_for_two_sources(home: Path, pictures: Path, folder: Path, call: Call) -> None:
    call("ingest", pictures, folder, "--name", "both").error(2, "both", 2, option="--name")


def test_a_source_name_that_is_none(home: Path, pictures: Path, call: Call) -> None:
    call("ingest", pictures, "--name", "a b").error(2, "'a b'", option="--name")


def test_bad_labels(home: Path, pictures: Path, call: Call) -> None:
    call("ingest", pictures, "--labels", "colour").error(2, "colour", "folder", option="--labels")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("home = [", "retrieval.toml"),
        ("qdrant_ulr = 1\n", "qdrant_ulr"),
        ("data = 3\n", "data"),
        ("qdrant_url = []\n", "qdrant_url"),
    ],
    ids=["unparseable", "misspelt", "data", "url"],
)
def test_a_bad_settings_file(text: str, named: str, home: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "retrieval.toml").write_text(text)
    assert named in call("status").error(2)


def test_too_few_images_to_train_on(home: Path, pictures: Path, tmp_path: Path, call: Call) -> None:
    (tmp_path / "few").mkdir()
    for file in sorted(pictures.rglob("*.png"))[:5]:
        shutil.copy(file, tmp_path / "few")
    error = call("train", tmp_path / "few").error()
    assert "5 images" in error
    assert "32" in error


def broken_model(trained: Trained, home: Path) -> str:
    """Make the default a model whose weights are all NaN, as no `train` would save it; returns its fingerprint."""
    from safetensors.numpy import save_file

    good = saved_models.load(Path(trained.said["model"]))
    weights = {name: np.full_like(array, np.nan) for name, array in good.weights.items()}
    mark = saved_models.fingerprint(good.config, weights)
    folder = Path(shutil.copytree(good.path, home / "models" / mark[:16]))
    save_file(weights, folder / "weights.safetensors")
    metrics = (folder / "metrics.json").read_text().replace(good.fingerprint, mark)
    (folder / "metrics.json").write_text(metrics)
    (home / "models" / "default").write_text(folder.name + "\n")
    return mark


def test_a_code_that_is_not_finite(trained: Trained, trained_home: Path, pictures: Path, call: Call) -> None:
    mark = broken_model(trained, trained_home)
    call("ingest", pictures).error(1, mark[:8], "finite")
    assert call("status", "--json").object["points"] == 0
    call("search", next(pictures.glob("*/*.png"))).error(1, mark[:8], "finite")


@pytest.mark.parametrize("file", ["config.json", "weights.safetensors", "metrics.json"])
@pytest.mark.parametrize("how", ["gone", "cut", "other"])
def test_a_damaged_model(file: str, how: str, trained_home: Path, pictures: Path, call: Call) -> None:
    path = next((trained_home / "models").glob(f"*/{file}"))
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        path.write_bytes(
            content.replace(b'"dim"', b'"din"') if file != "weights.safetensors" else content[:-4] + b"1234"
        )
    done = call("ingest", pictures)
    if (file, how) == ("metrics.json", "other"):  # numbers for people; the fingerprint still tells the truth
        assert done.code == 0
    else:
        assert str(path.parent) in done.error()


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done: Done = run("search", "x.png", "--debug", home=tmp_path / "home")
    assert done.code == 1
    assert "Traceback" in done.err
    assert "NoCollection" in done.err
    assert run("search", "x.png", home=tmp_path / "home").error()
