"""The options of `train`: what they change, what they say, and what they refuse."""

import contextlib
import functools
import json
from pathlib import Path

import numpy as np
import pytest

from retrieval.cli.commands.train import next_command
from retrieval.cli.parse import parse_seconds, parse_size
from retrieval.config import Settings
from retrieval.errors import UsageError
from retrieval.images.decode import decode, encode_png
from retrieval.model import saved_models
from retrieval.schema.image_shape import ImageShape
from retrieval.schema.records import CollectionMeta, utc_now
from retrieval.store import open_store
from retrieval.store.base import resolve
from retrieval.store.edge.engine import EdgeStore
from retrieval.store.edge.folder import FolderLock
from tests.cli.conftest import Call
from tests.errors import raises
from tests.ingest.jobs import make_model


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """Forty small colour pictures, one of them five times as wide as the others."""
    folder = tmp_path / "colours"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for n in range(40):
        pixels = rng.integers(0, 256, (8, 100 if n == 7 else 20, 3), np.uint8)
        (folder / f"{n:02}.png").write_bytes(encode_png(pixels))
    return folder


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("1h", 3600), ("300", 300), ("1.5h", 5400), (" 2 M ", 120)]
)
def test_times(text: str, seconds: float) -> None:
    assert parse_seconds("time_budget", text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "0", "0s", "-5m", "5d", "5m30s", "nan", "1e3", "٣s"])
def test_no_times(text: str) -> None:
    with raises(UsageError, repr(text), option="time_budget", hint="5m"):
        parse_seconds("time_budget", text)


def test_sizes() -> None:
    assert (parse_size("image_size", "64"), parse_size("image_size", "28x40")) == ((64, 64), (28, 40))
    for text in ("", "big", "28x", "x28", "-8", "1x2x3", "12345"):
        with raises(UsageError, repr(text), option="image_size", hint="48x64"):
            parse_size("image_size", text)


@pytest.mark.parametrize(
    ("options", "wrong", "named"),
    [
        ("--time-budget soon", "--time-budget", ["soon", "5m"]),
        ("--image-size 4", "--image-size", ["4x4", 8, 512]),
        ("--image-size 20x1000", "--image-size", ["20x1000", 8, 512]),
        ("--channels 2", "--channels", [1, 3, 2]),
        ("--processes 2", "", ["--processes", "--coordinator", "--process"]),
        ("--coordinator host:1 --processes 2", "", ["--coordinator", "--processes", "--process"]),
        ("--coordinator host --processes 2 --process 0", "--coordinator", ["HOST:PORT", "host"]),
        ("--coordinator host:1 --processes 1 --process 0", "--processes", [1, 2]),
        ("--coordinator host:1 --processes 2 --process 2", "--process", ["from 0 to 1", 2]),
        ("--coordinator host:1 --processes 2 --process 0 --time-budget 5m", "--time-budget", ["epochs"]),
        ("--preview x.png --objective reconstruction", "--preview", ["reconstruction"]),
    ],
)
def test_options_that_make_no_sense_are_refused(
    options: str, wrong: str, named: list[object], pictures: Path, own_home: Path, call: Call
) -> None:
    call("train", pictures, *options.split()).error(2, *named, option=wrong)
    assert not own_home.exists()


def test_a_preview_is_a_picture_and_no_model(pictures: Path, tmp_path: Path, own_home: Path, call: Call) -> None:
    file = tmp_path / "preview.png"
    done = call("train", pictures, "--preview", file)
    assert (done.code, done.out) == (0, f"{file}\n")
    pixels = decode(file.read_bytes(), "preview.png", ImageShape(400, 400, 3)).pixels
    assert pixels.min() < 50 < pixels.max()
    assert not (own_home / "models").exists()
    call("train", pictures, "--preview", tmp_path / "no" / "folder.png").error(1, tmp_path / "no" / "folder.png")


def test_a_run_with_every_option_says_what_it_did(colours: Path, tmp_path: Path, call: Call) -> None:
    options = ("--objective", "denoising", "--dim", 6, "--image-size", "8x12", "--channels", 1, "--epochs", 2)
    more = ("--time-budget", "10m", "--preset", "tiny", "--seed", 3, "--tensorboard", tmp_path / "events")
    done = call("train", colours, *options, *more, "--json")
    assert done.code == 0, done.err
    said = done.object
    assert (said["objective"], said["dim"], said["epochs"], said["preset"]) == ("denoising", 6, 2, "tiny")
    assert (said["time_budget"], said["seed"], said["images"]) == (600, 3, 40)
    saved = saved_models.load(Path(said["model"]))
    assert (saved.config.image_size, saved.config.channels) == ((8, 12), 1)

    sizes, grey, *_ = said["warnings"]
    assert "from 8×20 to 8×100; all are stretched to 8×12" in sizes
    assert "--channels 1" in grey
    assert [line for line in done.err.splitlines() if line.startswith("warning: ")] == [
        f"warning: {text}" for text in said["warnings"]
    ]
    lines = [json.loads(line) for line in (saved.path / "training.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [2]
    assert lines[0]["loss"] == pytest.approx(said["loss"], abs=1e-5)
    card = (saved.path / "README.md").read_text()
    for words in ("| objective | denoising |", "| preset | tiny |", "| hardware | 1 × cpu", f"**Warning**: {sizes}."):
        assert words in card
    assert len(list((tmp_path / "events").iterdir())) == 1


def test_few_images_for_a_long_code_are_told_of(tmp_path: Path, call: Call) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    for n in range(32):
        pixels = np.random.default_rng(n).integers(0, 256, (8, 8, 1), np.uint8)
        (folder / f"{n}.png").write_bytes(encode_png(pixels))
    done = call("train", folder, "--epochs", 1, "--preset", "tiny")
    assert done.code == 0, done.err
    assert "warning: batches of 32 images are too small for embeddings of 64 dimensions" in done.err


def test_what_comes_next(home: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An existing collection keeps its own model until it is re-indexed."""
    settings, source = Settings(home=home), str(pictures)
    with open_store(settings) as store:
        live = resolve(store, "images")
        own = saved_models.load_by_fingerprint(settings.models, store.metadata(live).model)
    other, ingest = make_model(home, seed=8), f"retrieval ingest {source}"
    assert own is not None
    assert next_command(own, source, settings) == ingest
    said = next_command(other, source, settings)
    assert (
        said
        == f"retrieval reindex   (images holds embeddings of model {own.fingerprint[:8]}, which ingest keeps using)"
    )
    monkeypatch.setattr("retrieval.store.edge.engine.EdgeStore", functools.partial(EdgeStore, lock_seconds=0.1))
    with contextlib.ExitStack() as held:
        held.callback(FolderLock(settings.embedded).release)
        assert (
            next_command(other, source, settings)
            == f"{ingest}, or where there is a collection already: retrieval reindex"
        )
    fresh = Settings(home=home.with_name("fresh"))
    assert next_command(other, source, fresh) == ingest
    assert not fresh.embedded.exists()
    with open_store(fresh) as store:
        store.create_collection("digits-1", CollectionMeta(own.fingerprint, 4, (8, 8), 1, utc_now()))
        store.move_alias("digits", "digits-1")
    assert next_command(other, source, fresh) == f"{ingest}, or for digits: retrieval reindex --alias ALIAS"


def test_the_verdict_by_folder_names(pictures: Path, colours: Path, call: Call) -> None:
    done = call("train", pictures, "--epochs", 1, "--dim", 2, "--json")
    assert done.code == 0, done.err
    assert done.object["helped"] is False
    assert done.object["verdict"].startswith("learning did not help: P@5 0.")
    assert f"warning: {done.object['verdict']}; try more --epochs" in done.err
    done = call("train", pictures, "--epochs", 1, "--dim", 2)
    assert " 1 epoch in " in done.out
    assert "200 of the images, with folder names as labels: learning did not help: P@5 0." in done.out
    done = call("train", colours, "--trunk", "none", "--epochs", 1)
    assert done.code == 0, done.err
    assert f"To see whether it is any good: retrieval evaluate {colours}" in done.out
