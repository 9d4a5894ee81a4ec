"""Unusable data is refused, and failed runs are reported with a hint."""

from dataclasses import replace

import numpy as np
import pytest
from jaxtyping import UInt8

from retrieval.errors import TrainingError
from retrieval.train import diagnostics, loop, optimiser
from retrieval.train.diagnostics import Diagnostics, split_held_out
from retrieval.train.loop import train
from retrieval.train.recipe import recipe_warnings
from tests.errors import mentions, raises
from tests.train.samples import blobs, recipe


def noise(n: int) -> UInt8[np.ndarray, "n h w c"]:
    """Images with nothing in common."""
    return np.random.default_rng(0).integers(0, 256, (n, 12, 12, 1), np.uint8)


def test_too_few_images_are_refused() -> None:
    with raises(TrainingError, 31, 32, hint=""):
        train(blobs(31), recipe())


def test_identical_images_are_refused() -> None:
    with raises(TrainingError, 40, "same", hint=""):
        train(blobs(1).repeat(40, axis=0), recipe())


def test_a_loss_that_is_not_finite_ends_the_run(
    images: UInt8[np.ndarray, "n h w c"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimiser, "LEARNING_RATE", 1e30)
    with raises(TrainingError, "loss", "step", hint="--preview"):
        train(images, recipe())


def test_a_collapsed_embedding_ends_the_run(
    images: UInt8[np.ndarray, "n h w c"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimiser, "LEARNING_RATE", 3e-5)
    monkeypatch.setattr(optimiser, "WEIGHT_DECAY", 3e4)  # every weight goes to zero, and so does the code
    with raises(TrainingError, "100%", hint="--objective"):
        train(images, recipe(epochs=20))


def test_a_reconstruction_no_better_than_the_mean_is_an_error_of_a_long_run_and_a_warning_of_a_short_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = train(noise(96), recipe(epochs=1))
    (warning,) = short.warnings
    assert "mean" in warning
    assert "--epochs" in warning
    monkeypatch.setattr(diagnostics, "FAIR_STEPS", 3)
    with raises(TrainingError, "mean", "3 steps", hint="--preset base"):
        train(noise(96), recipe(epochs=1))


def test_batches_smaller_than_the_dimension_are_a_warning() -> None:
    (warning,) = recipe_warnings(recipe(), batch=3)
    assert [part for part in (3, 4, "--dim 2") if not mentions(warning, part)] == []
    assert (
        recipe_warnings(recipe(), batch=4) == recipe_warnings(replace(recipe(), objective="denoising"), batch=3) == []
    )


def test_some_dead_dimensions_are_a_warning_and_most_are_an_error() -> None:
    assert Diagnostics(0.0, 0.1, 0.2).check(1000) == []
    (warning,) = Diagnostics(0.25, 0.1, 0.2).check(1000)
    assert [part for part in ("25%", "--dim") if not mentions(warning, part)] == []
    with raises(TrainingError, "75%", hint="--dim"):
        Diagnostics(0.75, 0.1, 0.2).check(1)


def test_held_out_images_are_never_learned_from() -> None:
    learned, held = split_held_out(4000, seed=0)
    assert len(held) == 200
    assert sorted([*learned, *held]) == list(range(4000))
    assert (held != split_held_out(4000, seed=1)[1]).any()
    assert len(split_held_out(60_000, seed=0)[1]) == loop.EXAMINED * 250 == diagnostics.HELD_OUT
    assert len(split_held_out(1279, seed=0)[1]) == 0
