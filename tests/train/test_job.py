"""The train job: how it reads a source's images, and the model that it saves."""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from retrieval.config import load_settings
from retrieval.errors import ModelError, SourceError, TrainingError
from retrieval.images.decode import encode_png
from retrieval.model import saved_models
from retrieval.model.encoder import Encoder
from retrieval.schema.records import Root
from retrieval.sources import Entry
from retrieval.train import data
from retrieval.train.data import choose_shape, read_training_images
from retrieval.train.job import train_and_save
from retrieval.train.loop import Progress
from retrieval.train.options import TrainOptions
from tests.errors import raises
from tests.train.samples import blobs, entry


@dataclass
class ListSource:
    """A source that is a list."""

    listed: Sequence[Entry]
    name: str = "test"
    spec: str = "a list"
    whole: bool = True
    labels: bool = False
    portable: bool = False

    def entries(self) -> Iterator[Entry]:
        return iter(self.listed)

    def read(self, key: str) -> bytes:
        return next(e for e in self.listed if e.key == key).read()

    def identify(self) -> Root:
        return Root(self.spec)

    def check_unchanged(self) -> None:
        """It is."""

    def has(self, key: str) -> bool:
        return any(entry.key == key for entry in self.entries())


def png(height: int, width: int, channels: int = 1) -> Entry:
    return entry(f"{height}x{width}x{channels}.png", encode_png(np.full((height, width, channels), 9, np.uint8)))


BROKEN = entry("broken.png", b"not an image")


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([png(28, 28)] * 3, ((28, 28), 1)),
        ([png(20, 40)] * 3, ((20, 40), 1)),
        ([png(64, 64, 3)] * 2, ((64, 64), 3)),
        ([png(65, 64)] * 2, ((64, 64), 1)),
        ([png(5, 20)], ((8, 20), 1)),
        ([png(28, 28), png(28, 28), png(28, 29)], ((64, 64), 1)),
        ([png(300, 200), png(200, 300)], ((64, 64), 1)),
        ([png(28, 28), png(28, 28, 3), png(28, 28)], ((28, 28), 3)),
        ([BROKEN, png(28, 28), BROKEN], ((28, 28), 1)),
    ],
)
def test_size_follows_from_the_images(entries: list[Entry], expected: tuple[tuple[int, int], int]) -> None:
    shape = choose_shape(entries).shape
    assert (shape.size, shape.channels) == expected


def test_size_of_nothing_readable() -> None:
    with raises(SourceError, 2, BROKEN.name):
        choose_shape([BROKEN, BROKEN])


def test_no_more_are_probed_than_needed() -> None:
    read = []

    def fetch() -> bytes:
        read.append(1)
        return png(28, 28).read()

    choose_shape([Entry("test", f"{n}.png", 1, 0, None, fetch) for n in range(2000)])
    assert 200 <= len(read) <= 220


def test_images_beyond_the_budget_give_a_random_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "PIXEL_BUDGET", 10 * 12 * 12)
    images = blobs(30)
    source = ListSource([entry(f"{n}.png", encode_png(image)) for n, image in enumerate(images)])
    gathered = [
        read_training_images([source], TrainOptions(seed=seed, trunk="none"), lambda done, total: None)
        for seed in (0, 0, 1)
    ]
    assert [part.warnings for part in gathered] == [
        ["10 of 30 images fit into memory; the model is trained on a random sample"]
    ] * 3
    first, again, other = (part.images for part in gathered)
    assert len(first) == 10
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    known = {image.tobytes() for image in images}
    assert all(image.tobytes() in known for image in first)


def test_a_saved_model_works() -> None:
    settings = load_settings()
    images = blobs(40)
    entries = [entry(f"{n}.png", encode_png(image)) for n, image in enumerate(images)]
    entries.insert(3, BROKEN)
    seen: list[Progress] = []
    read: list[tuple[int, int]] = []
    model, refused = train_and_save(
        [ListSource(entries)],
        settings,
        TrainOptions(dim=4, epochs=2, preset="tiny"),
        reading=lambda done, total: read.append((done, total)),
        training=seen.append,
    )
    assert [item.entry for item in refused] == [BROKEN]
    assert (read[-1], seen[-1].step) == ((41, 41), 2)
    assert saved_models.find(settings.models, None) == model.path
    loaded = saved_models.load(model.path)
    assert loaded.fingerprint == model.fingerprint
    assert Encoder(loaded).encode(images).shape == (40, 4)
    numbers = json.loads((model.path / "metrics.json").read_text())
    assert (numbers["images"], numbers["refused"], numbers["sources"]) == (40, 1, "a list")
    assert np.isfinite([numbers[name] for name in ("loss", "reconstruction", "invariance")]).all()
    image = Image.open(io.BytesIO((model.path / "reconstructions.png").read_bytes()))
    assert image.size == (8 * 14 * 8, 4 * 14 * 8)  # 8 across, 2 double rows, 14 pixels each, 8-fold
    assert not any(settings.checkpoints.glob("*"))


def test_too_few_images_leave_no_model() -> None:
    settings = load_settings()
    entries = [entry(f"{n}.png", encode_png(image)) for n, image in enumerate(blobs(5))]
    with raises(TrainingError, 5, 32, hint=""):
        train_and_save([ListSource(entries)], settings)
    assert saved_models.default(settings.models) is None


def test_a_disk_full_while_saving_loses_nothing() -> None:
    settings = load_settings()
    source = ListSource([entry(f"{n}.png", encode_png(image)) for n, image in enumerate(blobs(40))])
    options = TrainOptions(dim=4, epochs=4, preset="tiny")
    expected, _ = train_and_save([source], settings.model_copy(update={"home": settings.home / "other"}), options)
    settings.home.mkdir(exist_ok=True)
    (settings.models).write_text("in the way")
    with raises(ModelError, settings.models, hint=""):
        train_and_save([source], settings, options)
    settings.models.unlink()
    seen: list[Progress] = []
    again, _ = train_and_save([source], settings, options, training=seen.append)
    assert [p.step for p in seen if not p.compiling] == [4]  # only what came after the last checkpoint, that of step 3
    assert again.fingerprint == expected.fingerprint
    assert not any(settings.checkpoints.iterdir())
