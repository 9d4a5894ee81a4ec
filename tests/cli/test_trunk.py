"""A model on the trunk, from `train --trunk photos` to `reindex`, on both engines; options that do not fit it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retrieval.images.decode import encode_jpeg, encode_png
from retrieval.model import saved_models
from retrieval.model.config import TRUNK
from tests.cli.conftest import Call, Trained, copy, done_well
from tests.conftest import made_once
from tests.store.conftest import clean

SIDE = 64


def patches(height: int, width: int, seed: int) -> np.ndarray:
    """A picture of 25 patches of random colours that shade into each other."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of forty pictures of two kinds, colour and grey, wide and tall."""

    def make(folder: Path) -> None:
        for number in range(40):
            image = patches(96, 96, number)
            kind = "tall" if number % 2 else "wide"
            (folder / kind).mkdir(parents=True, exist_ok=True)
            part = np.ascontiguousarray(image[:, :64] if number % 2 else image[:64])
            grey = number % 5 == 0
            data = encode_png(part[..., :1]) if grey else encode_jpeg(part)
            (folder / kind / f"{number:02}.{'png' if grey else 'jpg'}").write_bytes(data)
        panorama = patches(64, 640, 40)
        (folder / "wide" / "panorama.jpg").write_bytes(encode_jpeg(panorama))

    return made_once(tmp_path_factory, "photos", make)


@pytest.fixture(scope="session")
def seen(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Trained:
    """A home with a model on the trunk. Not to be changed."""

    def make(folder: Path) -> None:
        options = ("--trunk", "photos", "--image-size", SIDE, "--dim", 8, "--epochs", 2, "--json")
        (folder / "said.json").write_text(done_well("train", photos, *options, home=folder / "home").out)

    folder = made_once(tmp_path_factory, "seen", make)
    return Trained(folder / "home", json.loads((folder / "said.json").read_text()))


@pytest.mark.parametrize("engine", ["embedded", "server"])
def test_from_training_to_reindex(
    engine: str,
    seen: Trained,
    photos: Path,
    own_home: Path,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    copy(seen.home, own_home)
    if engine == "server":
        url = request.getfixturevalue("qdrant_url")
        monkeypatch.setenv("QDRANT_URL", url)
        request.addfinalizer(lambda: clean(url))
    done = call("ingest", photos, "--labels", "folder", "--json")
    assert done.code == 0, done.err
    assert (done.object["encoded"], done.object["failed"]) == (41, 0)
    for query in (photos / "tall" / "07.jpg", photos / "wide" / "panorama.jpg"):
        nearest = call("search", query, "--include-self", "--json").object["hits"][0]
        assert nearest["path"] == str(query.relative_to(photos))
        assert nearest["distance"] < 1e-3
    facts = call("status", "--json").object
    assert (facts["fit"], facts["trunk"]) == ("crop", TRUNK)
    rows = call("evaluate", photos, "--labels", "folder", "--json").object["scores"]
    names = ["raw pixels", "PCA", "colour histogram", "perceptual hash", "frozen trunk"]
    assert [row["codes"] for row in rows[1:]] == names
    assert rows[0]["dim"] == 8
    outcome = call("reindex", "--train", "--json")
    assert outcome.code in (0, 5), outcome.err
    assert outcome.object["trunk"] == outcome.object["previous_trunk"] == TRUNK
    successor = saved_models.load(saved_models.find(own_home / "models", outcome.object["model"]))
    assert (successor.config.trunk, successor.config.image_size, successor.config.dim) == (TRUNK, (SIDE, SIDE), 8)


def test_what_training_says(seen: Trained) -> None:
    assert (seen.said["trunk"], seen.said["fit"], seen.said["views"], seen.said["epochs"]) == (TRUNK, "crop", 4, 2)
    assert "preset" not in seen.said


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ("--preset small", "--preset"),
        ("--objective denoising", "--objective"),
        ("--channels 1", "--channels"),
        ("--image-size 100", "--image-size"),
        ("--coordinator host:1 --processes 2 --process 0", "--coordinator"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    options: str, wrong: str, photos: Path, own_home: Path, call: Call
) -> None:
    call("train", photos, "--trunk", "photos", *options.split()).error(2, "--trunk photos", option=wrong)
    assert not own_home.exists()
