"""The quick verdict after a training, by folder names."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

from retrieval.config import Settings
from retrieval.evaluate import trial
from retrieval.evaluate.baselines import untrained_encoder
from retrieval.evaluate.trial import precision, try_out
from retrieval.images.decode import encode_png
from retrieval.model.config import TRUNK, ModelConfig
from retrieval.model.encoder import Encoder
from retrieval.schema.verdict import Verdict
from retrieval.sources import open_source
from tests.evaluate.test_job import digits
from tests.train.samples import blobs

pytestmark = pytest.mark.usefixtures("xla_cache")


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    """Three dimensions of random weights: worse than raw pixels."""
    return untrained_encoder(ModelConfig((28, 28), 1, 3, (4, 4), (0, 0)), seed=7)


def write(folder: Path, images: Sequence[tuple[str, bytes]]) -> Path:
    for number, (label, data) in enumerate(images):
        path = folder / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def verdict(encoder: Encoder, folder: Path) -> Verdict | None:
    return try_out(encoder, [open_source(str(folder), Settings(home=folder.parent / "home"))])


def test_a_model_that_learned_nothing_is_worse_than_a_baseline(encoder: Encoder, tmp_path: Path) -> None:
    images = [(str(label), data) for data, label in digits(300)]
    found = verdict(encoder, write(tmp_path / "digits", [*images, images[0]]))
    assert found is not None
    assert (found.metric, found.queries, found.helped) == ("P@5", 300, False), "a copy counts once"
    assert found.baseline in ("raw pixels", "PCA", "perceptual hash")
    assert "learning did not help" in str(found)


def test_folders_that_say_nothing(encoder: Encoder, tmp_path: Path) -> None:
    images = digits(20)
    assert verdict(encoder, write(tmp_path / "flat", [(".", data) for data, _ in images])) is None
    assert verdict(encoder, write(tmp_path / "one", [("one", data) for data, _ in images])) is None
    assert verdict(encoder, write(tmp_path / "own", [(str(n), data) for n, (data, _) in enumerate(images)])) is None
    assert (
        verdict(encoder, write(tmp_path / "few", [(str(n % 2), data) for n, (data, _) in enumerate(images[:5])]))
        is None
    )
    assert verdict(encoder, write(tmp_path / "same", [(str(n % 2), images[0][0]) for n in range(20)])) is None


def test_a_sample_of_a_large_collection(encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "IMAGES", 30)
    found = verdict(encoder, write(tmp_path / "digits", [(str(label), data) for data, label in digits(60)]))
    assert found is not None
    assert found.queries == 30


def test_a_model_on_the_trunk_is_compared_with_the_trunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = blobs(24, 32, 3)
    model = untrained_encoder(ModelConfig((32, 32), 3, 2, (), (), TRUNK, "crop"), seed=3)
    compared: list[str] = []
    monkeypatch.setattr(trial, "judge", lambda metric, ours, theirs, at: compared.extend(theirs))
    verdict(model, write(tmp_path / "blobs", [(str(n % 2), encode_png(image)) for n, image in enumerate(images)]))
    assert compared == ["raw pixels", "PCA", "colour histogram", "perceptual hash", "frozen trunk"]


def test_precision_is_what_scikit_learn_counts() -> None:
    rng = np.random.default_rng(0)
    codes, labels = rng.normal(size=(50, 3)).astype(np.float32), rng.integers(0, 3, 50)
    found = NearestNeighbors(n_neighbors=5).fit(codes).kneighbors()[1]
    np.testing.assert_allclose(precision(codes, labels), (labels[found] == labels[:, None]).mean(axis=1))
