"""Training: the seed decides everything, the loss goes down, and what cannot be learned from is refused."""

import numpy as np
import pytest
from jaxtyping import UInt8

from retrieval.errors import TrainingError
from retrieval.model import to_flat
from retrieval.train import Progress, Trained, default_recipe, loop, train
from tests.learning.samples import blobs, recipe


def weight_bytes(trained: Trained) -> dict[str, bytes]:
    return {name: np.asarray(array).tobytes() for name, array in to_flat(trained.params).items()}


def test_the_same_seed_gives_the_same_bytes(images: UInt8[np.ndarray, "n h w c"], trained: Trained) -> None:
    reports: list[Progress] = []
    again = train(images, recipe(), report=reports.append)
    assert weight_bytes(again) == weight_bytes(trained)
    assert again.metrics == trained.metrics
    assert [(p.step, p.steps, p.resumed) for p in reports] == [(s, 12, False) for s in (3, 6, 9, 12)]
    assert all(p.images_per_second > 0 for p in reports)
    assert again.seconds > 0


def test_the_loss_goes_down_and_the_code_comes_alive(images: UInt8[np.ndarray, "n h w c"], trained: Trained) -> None:
    longer = train(images, recipe(epochs=40)).metrics
    assert longer["loss"] < trained.metrics["loss"] - 0.5
    assert longer["reconstruction"] < trained.metrics["reconstruction"]
    assert longer["spread"] < trained.metrics["spread"] - 0.5


def test_another_seed_gives_other_weights(images: UInt8[np.ndarray, "n h w c"], trained: Trained) -> None:
    other = weight_bytes(train(images, recipe(seed=1)))
    assert all(other[name] != value for name, value in weight_bytes(trained).items() if value.strip(b"\0"))


def test_metrics_are_the_means_of_the_last_epoch(trained: Trained) -> None:
    terms = {name: value for name, value in trained.metrics.items() if name != "loss"}
    assert set(terms) == {"reconstruction", "agreement", "spread", "correlation"}
    assert trained.metrics["loss"] == pytest.approx(sum(terms.values()), rel=1e-5)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(TrainingError, match="31 images to train on, but at least 32 are needed"):
        train(blobs(31), recipe())


def test_images_all_alike_are_refused() -> None:
    with pytest.raises(TrainingError, match="all 40 images are the same: there is nothing to learn"):
        train(blobs(1).repeat(40, axis=0), recipe())


def test_a_loss_that_is_not_finite_ends_the_run(
    images: UInt8[np.ndarray, "n h w c"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "LEARNING_RATE", 1e30)
    with pytest.raises(TrainingError, match=r"the loss is (nan|inf) at step 3 of 12: nothing was saved"):
        train(images, recipe())


@pytest.mark.parametrize(("images", "epochs"), [(32, 100), (1200, 100), (4000, 30), (60_000, 3), (10**6, 3)])
def test_epochs_follow_from_the_number_of_images(images: int, epochs: int) -> None:
    assert loop.default_epochs(images) == epochs


def test_default_recipe_fits_the_data() -> None:
    chosen = default_recipe(np.zeros((40, 28, 64, 3), np.uint8), dim=16, seed=7)
    assert chosen.model.image_size == (28, 64)
    assert (chosen.model.channels, chosen.model.dim, chosen.model.widths) == (3, 16, (32, 64, 64))
    assert (chosen.batch, chosen.epochs, chosen.seed) == (40, 100, 7)
    assert default_recipe(np.zeros((300, 8, 8, 1), np.uint8), epochs=2).batch == 256
