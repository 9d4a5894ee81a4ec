"""What cannot be learned from is refused, and what has gone wrong is said, with what to do."""

from dataclasses import replace

import numpy as np
import pytest
from jaxtyping import UInt8

from retrieval.errors import TrainingError
from retrieval.train import diagnostics, loop, optimiser
from retrieval.train.diagnostics import Diagnostics, split_held_out
from retrieval.train.loop import train
from retrieval.train.recipe import recipe_warnings
from tests.errors import hinted
from tests.train.samples import blobs, recipe


def noise(n: int) -> UInt8[np.ndarray, "n h w c"]:
    """Images with nothing in common."""
    return np.random.default_rng(0).integers(0, 256, (n, 12, 12, 1), np.uint8)


def test_too_few_images_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"\b31 .*\b32\b", check=hinted("add more")):
        train(blobs(31), recipe())


def test_images_all_alike_are_refused() -> None:
    with pytest.raises(TrainingError, match="all 40 images are the same"):
        train(blobs(1).repeat(40, axis=0), recipe())


def test_a_loss_that_is_not_finite_ends_the_run(
    images: UInt8[np.ndarray, "n h w c"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimiser, "LEARNING_RATE", 1e30)
    with pytest.raises(TrainingError, match=r"(nan|inf) at step \d+; nothing was saved", check=hinted("--preview")):
        train(images, recipe())


def test_a_code_that_collapses_ends_the_run(
    images: UInt8[np.ndarray, "n h w c"], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optimiser, "LEARNING_RATE", 3e-5)
    monkeypatch.setattr(optimiser, "WEIGHT_DECAY", 3e4)  # every weight goes to zero, and so does the code
    with pytest.raises(TrainingError, match="collapsed: 100%", check=hinted("--objective")):
        train(images, recipe(epochs=20))


def test_a_reconstruction_no_better_than_the_mean_ends_a_long_run_and_is_told_of_a_short_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = train(noise(96), recipe(epochs=1))
    assert ["no better than the mean image's" in warning for warning in short.warnings] == [True]
    assert "try more --epochs" in short.warnings[0]
    monkeypatch.setattr(diagnostics, "FAIR_STEPS", 3)
    with pytest.raises(TrainingError, match=r"no better than the mean image's \(0\.\d+\) after 3 steps; nothing was"):
        train(noise(96), recipe(epochs=1))


def test_batches_smaller_than_the_code_are_told_of() -> None:
    (warning,) = recipe_warnings(recipe(), batch=3)
    assert warning.startswith("batches of 3 images are too small for codes of 4 numbers")
    assert "--dim 2" in warning
    assert (
        recipe_warnings(recipe(), batch=4) == recipe_warnings(replace(recipe(), objective="denoising"), batch=3) == []
    )


def test_some_dead_dimensions_are_a_warning_and_most_are_an_error() -> None:
    assert Diagnostics(0.0, 0.1, 0.2).check(1000) == []
    (warning,) = Diagnostics(0.25, 0.1, 0.2).check(1000)
    assert warning == "25% of the code's dimensions hardly vary; try a smaller --dim"
    with pytest.raises(TrainingError, match="75% of its dimensions hardly vary"):
        Diagnostics(0.75, 0.1, 0.2).check(1)


def test_held_out_images_are_never_learned_from() -> None:
    learned, held = split_held_out(4000, seed=0)
    assert len(held) == 200
    assert sorted([*learned, *held]) == list(range(4000))
    assert (held != split_held_out(4000, seed=1)[1]).any()
    assert len(split_held_out(60_000, seed=0)[1]) == loop.EXAMINED * 250 == diagnostics.HELD_OUT
    assert len(split_held_out(1279, seed=0)[1]) == 0
