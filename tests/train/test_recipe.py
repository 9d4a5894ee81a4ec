"""The defaults that are chosen from the data, and the options that override them."""

import numpy as np
import pytest

from retrieval.train import recipe
from retrieval.train.recipe import PRESETS, default_epochs, default_network, default_recipe, small_photo_factor
from retrieval.train.types import Preset


@pytest.mark.parametrize(("images", "epochs"), [(32, 100), (6000, 100), (60_000, 10), (10**6, 1)])
def test_epochs_follow_from_the_number_of_images(images: int, epochs: int) -> None:
    assert default_epochs(images, 600_000) == epochs


@pytest.mark.parametrize(("side", "channels", "factor"), [(32, 3, 4), (64, 3, 1), (128, 3, 1), (8, 3, 4), (32, 1, 1)])
def test_small_photographs_are_seen_more_often(side: int, channels: int, factor: float) -> None:
    images = np.zeros((300, side, side, channels), np.uint8)
    assert small_photo_factor(images) == factor


def test_the_default_recipe_fits_the_data() -> None:
    grey = default_recipe(np.zeros((40, 28, 64, 1), np.uint8), seed=7)
    assert (grey.model.image_size, grey.model.channels, grey.model.dim) == ((28, 64), 1, recipe.GREY_DIM)
    assert (grey.batch, grey.epochs, grey.budget, grey.seed) == (40, recipe.MAX_EPOCHS, None, 7)
    colour = default_recipe(np.random.default_rng(0).integers(0, 256, (300, 8, 8, 3), np.uint8))
    assert (colour.model.channels, colour.model.dim, colour.batch) == (3, recipe.COLOUR_DIM, recipe.BATCH)
    assert colour.distortion != grey.distortion


def test_the_users_choices_win() -> None:
    images = np.zeros((40, 28, 28, 1), np.uint8)
    asked = default_recipe(images, dim=16, epochs=3, objective="denoising", budget=60.0)
    assert (asked.model.dim, asked.epochs, asked.objective, asked.budget) == (16, 3, "denoising", 60)
    assert default_recipe(images, budget=60.0).epochs is None  # as long as there is time


def test_presets_grow() -> None:
    presets: tuple[Preset, ...] = ("tiny", "small", "base")
    widths = [default_network((28, 28), 1, 64, PRESETS[preset]).widths for preset in presets]
    assert widths == sorted(widths)
    images = np.zeros((50_000, 8, 8, 1), np.uint8)
    epochs = [default_recipe(images, preset=preset).epochs or 0 for preset in presets]
    assert epochs == sorted(set(epochs))


@pytest.mark.parametrize(("side", "batch"), [(64, 256), (128, 128), (512, 8)])
def test_large_images_go_in_smaller_batches(side: int, batch: int) -> None:
    assert default_recipe(np.zeros((300, side, side, 1), np.uint8)).batch == batch
