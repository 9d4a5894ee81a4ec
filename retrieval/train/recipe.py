"""How to train, and how that follows from the images: every default is here, with its reason."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from retrieval.model.autoencoder import stage_count
from retrieval.model.config import ModelConfig
from retrieval.train.augment import DRAWN, Distortion, default_distortion
from retrieval.train.types import Objective, Preset

BATCH = 256
"""Enough for the covariance of 64 to 128 numbers; larger ones take fewer steps and learn less in the same time."""
BATCH_PIXELS = 2**21
"""Of larger images a batch has fewer, so that training takes 2 GB or so at most: 128 of 128×128 pixels."""
GREY_DIM, COLOUR_DIM = 64, 128
"""Numbers in a code: photos have more to say. Above 64, MNIST gains nothing."""
MAX_EPOCHS = 100
"""More teach a small collection nothing new."""


class Effort(NamedTuple):
    """What a preset stands for.

    width, widest: channels of the first stage and of the widest · blocks: residual blocks where the side is about 8 ·
    seen: images, over all epochs.
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


def default_preset(channels: int) -> Preset:
    """Grey images are `small`: on MNIST a wider network gains nothing. Colour ones are `base`: photos take more."""
    return "small" if channels == 1 else "base"


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train: with the data and the number of devices, it decides the weights.

    epochs: times each image is seen; None: as often as the budget allows · budget: seconds, None for no limit; the
    learning rate falls to zero by whichever of the two ends first, so a run with a budget is not repeated exactly.
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
    """What fits the data: the network from the image size, the distortions from the channels, the epochs from n."""
    n, height, width, channels = images.shape
    effort = PRESETS[preset or default_preset(channels)]
    config = default_network((height, width), channels, dim or (GREY_DIM if channels == 1 else COLOUR_DIM), effort)
    if epochs is None and budget is None:
        epochs = default_epochs(n, effort.seen)
    batch = min(BATCH, n, max(1, BATCH_PIXELS // (height * width)))
    return Recipe(config, epochs, seed, batch, objective, default_distortion(images), budget)


def default_network(image_size: tuple[int, int], channels: int, dim: int, effort: Effort) -> ModelConfig:
    """The network for a size: each stage twice as wide as the one before, up to the widest."""
    count = stage_count(image_size)
    widths = tuple(min(effort.width * 2**stage, effort.widest) for stage in range(count))
    return ModelConfig(image_size, channels, dim, widths, (*(0,) * (count - 2), effort.blocks, 0))


def default_epochs(images: int, seen: int) -> int:
    """So often that about `seen` images are seen in all, at least once each and at most MAX_EPOCHS times."""
    return min(MAX_EPOCHS, math.ceil(seen / images))


def recipe_warnings(recipe: Recipe, batch: int) -> list[str]:
    """What speaks against the recipe when a batch has so many images."""
    if recipe.objective == "invariant" and batch < recipe.model.dim:
        return [
            f"batches of {batch} images are too small for codes of {recipe.model.dim} numbers with the objective"
            f" invariant; try --dim {max(2, batch // 4)}, --objective denoising, or more images"
        ]
    return []
