"""The recipe of a training run, and how its defaults follow from the images."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from retrieval.model.autoencoder import stage_count
from retrieval.model.config import ModelConfig
from retrieval.train.augment import DRAWN, Distortion, default_distortion
from retrieval.train.types import Objective, Preset
from retrieval.util.wording import count_of

DEFAULT_PRESET: Preset = "small"
"""A wider network gains nothing on MNIST, and in the same time less than `small` on photographs: decision 0026."""
BATCH = 256
"""Images per batch: enough for the covariance of 64 to 128 dimensions. Larger batches learn less in the same time."""
BATCH_PIXELS = 2**21
"""Maximum pixels per batch, so that training takes at most about 2 GB: 128 images of 128×128 pixels."""
GREY_DIM, COLOUR_DIM = 64, 128
"""Dimension of the embedding. Above 64, MNIST gains nothing; photos need more."""
PHOTO_PIXELS = 64 * 64
STEM_STAGES = 4
"""Number of stages from which the first two are one `BlockStem`, for images in colour: sides of 33 pixels and more."""
MAX_EPOCHS = 100
"""More passes over a small collection gain nothing."""


class Effort(NamedTuple):
    """The values of a preset.

    width: channels of the first stage
    widest: maximum number of channels
    blocks: number of residual blocks at a resolution of about 8×8
    seen: images per run, over all epochs; photographs that are small take more
    """

    width: int
    widest: int
    blocks: int
    seen: int


PRESETS: dict[Preset, Effort] = {
    "tiny": Effort(16, 64, 0, 60_000),
    "small": Effort(32, 96, 0, 200_000),
    "base": Effort(48, 192, 1, 300_000),
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train. With the images and the number of devices, it determines the weights, unless there is a budget.

    model: the network
    epochs: passes over the images; None: as many as the budget allows
    seed: of all random choices
    batch: images per batch
    objective: the training loss
    distortion: the augmentation
    budget: seconds; None: no limit. The learning rate falls to zero by the end of the epochs or of the budget,
        whichever comes first, so a run with a budget is not reproducible.
    """

    model: ModelConfig
    epochs: int | None
    seed: int = 0
    batch: int = BATCH
    objective: Objective = "invariant"
    distortion: Distortion = DRAWN
    budget: float | None = None


def default_recipe(
    images: UInt8[np.ndarray, "n h w c"],
    *,
    dim: int | None = None,
    epochs: int | None = None,
    budget: float | None = None,
    seed: int = 0,
    objective: Objective = "invariant",
    preset: Preset | None = None,
) -> Recipe:
    """The recipe for these images: the network depends on their size, the augmentation on their channels.

    images: u8[n, h, w, c]
    dim, epochs, budget, preset: None: chosen here
    """
    n, height, width, channels = images.shape
    effort = PRESETS[preset or DEFAULT_PRESET]
    config = default_network((height, width), channels, dim or (GREY_DIM if channels == 1 else COLOUR_DIM), effort)
    if epochs is None and budget is None:
        epochs = default_epochs(n, round(effort.seen * small_photo_factor(images)))
    batch = min(BATCH, n, max(1, BATCH_PIXELS // (height * width)))
    return Recipe(config, epochs, seed, batch, objective, default_distortion(images), budget)


def default_network(image_size: tuple[int, int], channels: int, dim: int, effort: Effort) -> ModelConfig:
    """The network for an image size: each stage has twice the channels of the one before, up to `widest`.

    Images in colour of four stages and more get a stem that takes the place of the first two.
    """
    count = stage_count(image_size)
    widths = tuple(min(effort.width * 2**stage, effort.widest) for stage in range(count))
    stem = 4 if channels == 3 and count >= STEM_STAGES else 2
    first = 1 if stem == 4 else 0
    return ModelConfig(
        image_size, channels, dim, widths[first:], (*(0,) * (count - 2 - first), effort.blocks, 0), stem=stem
    )


def small_photo_factor(images: UInt8[np.ndarray, "n h w c"]) -> float:
    """How many times as many images a run takes if they are in colour and smaller than PHOTO_PIXELS; from 1 to 4.

    It then lasts about as long as with PHOTO_PIXELS. Photographs gain from that: docs/decisions/0026.
    """
    _, height, width, channels = images.shape
    return min(4.0, max(1.0, PHOTO_PIXELS / (height * width))) if channels == 3 else 1.0


def default_epochs(images: int, seen: int) -> int:
    """Number of passes over `images` images to see about `seen` in total; from 1 to MAX_EPOCHS."""
    return min(MAX_EPOCHS, math.ceil(seen / images))


def recipe_warnings(recipe: Recipe, batch: int) -> list[str]:
    """Warnings about a recipe, given the images per batch."""
    if recipe.objective == "invariant" and batch < recipe.model.dim:
        return [
            f"batches of {count_of(batch, 'image')} are too small for embeddings of {recipe.model.dim} dimensions with"
            f" the objective invariant; try --dim {max(2, batch // 4)}, --objective denoising, or more images"
        ]
    return []
