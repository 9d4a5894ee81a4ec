"""The `train` job: read the images, choose a recipe, train, save the model, then delete the run's checkpoints."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

from retrieval.config import Settings
from retrieval.images.decode import encode_png
from retrieval.model import saved_models
from retrieval.model.autoencoder import to_flat
from retrieval.model.base_encoder import as_drawn
from retrieval.model.config import ModelConfig
from retrieval.model.encoder import Encoder, use_compilation_cache
from retrieval.model.saved_models import SavedModel
from retrieval.sources import Source
from retrieval.sources.read import Refused
from retrieval.train.augment import Distortion
from retrieval.train.checkpoints import LogEntry, delete
from retrieval.train.data import read_training_images
from retrieval.train.distributed import is_primary, process_group
from retrieval.train.loop import Progress, TrainResult, train
from retrieval.train.options import TrainOptions
from retrieval.train.recipe import DEFAULT_PRESET, Recipe, default_recipe
from retrieval.train.step import describe_hardware
from retrieval.util.reporting import ReportCount, ignore

if TYPE_CHECKING:
    from retrieval.train.trunk import TrunkRecipe


def train_and_save(
    sources: Sequence[Source],
    settings: Settings,
    options: TrainOptions = TrainOptions(),  # noqa: B008 - it is frozen
    *,
    make_default: bool = True,
    reading: ReportCount = ignore,
    training: Callable[[Progress], None] = lambda progress: None,
    log: Callable[[LogEntry], None] = lambda line: None,
) -> tuple[SavedModel, list[Refused]]:
    """Train on the sources' images and save the model; returns it with the images that were refused.

    Warnings for the user are in the model's metrics, as `warnings`. With `options.hosts` each process calls this; only
    process 0 saves the model, the others return it unsaved. If it fails, the last checkpoint remains, and the same call
    resumes from it.

    make_default: make the model the default, even if there is one already
    reading: called with how many images are read, and their total
    training: called every few steps
    log: called with the metrics of each round
    Raises SourceError when no image can be used, TrainingError when training fails, ModelError when the model cannot be
    saved.
    """
    use_compilation_cache(settings.xla_cache)
    with process_group(options.hosts):
        started = time.monotonic()
        data = read_training_images(sources, options, reading)
        options = dataclasses.replace(options, trunk=data.choice.trunk)
        seconds = time.monotonic() - started
        config, described, trained = run(data.images, options, settings, training, log)
    numbers = {
        "images": len(data.images),
        "refused": len(data.refused),
        "sources": ", ".join(source.spec for source in sources),
        **({} if data.choice.drawn_share is None else {"drawn_share": round(data.choice.drawn_share, 3)}),
        **described,
        **{name: round(value, 5) for name, value in trained.metrics.items()},
        "stopped_early": trained.stopped_early,
        "reading_seconds": round(seconds, 1),
        "hardware": describe_hardware(),
        "warnings": [*data.warnings, *trained.warnings],
    }
    weights = {name: np.asarray(array) for name, array in to_flat(trained.params).items()}
    draft = SavedModel(config, weights, saved_models.fingerprint(config, weights), numbers, settings.models)
    if not is_primary():
        return draft, data.refused
    image = draw_reconstructions(Encoder(draft), data.images)
    model = saved_models.save(settings.models, config, weights, numbers, image, trained.history)
    if make_default or saved_models.default(settings.models) is None:
        saved_models.set_default(model)
    if trained.checkpoints:
        delete(trained.checkpoints)
    return model, data.refused


def run(
    images: UInt8[np.ndarray, "n h w c"],
    options: TrainOptions,
    settings: Settings,
    training: Callable[[Progress], None],
    log: Callable[[LogEntry], None],
) -> tuple[ModelConfig, dict[str, Any], TrainResult]:
    """Choose a recipe and train; returns the network's config, the recipe as entries of the metrics, and the result."""
    if options.trunk == "photos":
        from retrieval.train.trunk import train_on_trunk, trunk_recipe

        chosen = trunk_recipe(images, dim=options.dim, epochs=options.epochs, budget=options.budget, seed=options.seed)
        return chosen.model, describe_trunk(chosen), train_on_trunk(images, chosen, training, log)
    recipe = default_recipe(
        images,
        dim=options.dim,
        epochs=options.epochs,
        budget=options.budget,
        seed=options.seed,
        objective=options.objective,
        preset=options.preset,
    )
    described = describe_recipe(recipe, options.preset or DEFAULT_PRESET)
    return recipe.model, described, train(images, recipe, settings.checkpoints, training, log)


def describe_trunk(recipe: "TrunkRecipe") -> dict[str, Any]:
    """As `describe_recipe`, for a model on the trunk."""
    return {
        "trunk": recipe.model.trunk,
        "fit": recipe.model.fit,
        "dim": recipe.model.dim,
        "time_budget": recipe.budget,
        "seed": recipe.seed,
        "distortion": switched_on(recipe.distortion),
    }


def switched_on(distortion: Distortion) -> dict[str, Any]:
    """The strengths of the augmentations that are switched on."""
    return {name: value for name, value in dataclasses.asdict(distortion).items() if value}


def describe_recipe(recipe: Recipe, preset: str) -> dict[str, Any]:
    """The recipe as entries of the model's metrics, with only the distortions that are switched on."""
    return {
        "objective": recipe.objective,
        "preset": preset,
        "dim": recipe.model.dim,
        "batch": recipe.batch,
        "time_budget": recipe.budget,
        "seed": recipe.seed,
        "distortion": {} if recipe.objective == "reconstruction" else switched_on(recipe.distortion),
    }


def draw_reconstructions(encoder: Encoder, images: UInt8[np.ndarray, "n h w c"]) -> bytes:
    """A PNG of up to sixteen images, each above its reconstruction."""
    chosen = images[:: max(1, len(images) // 16)][:16]
    decoded = np.rint(encoder.decode(encoder.encode(chosen)) * 255).astype(np.uint8)
    chosen = as_drawn(encoder.config, chosen)
    zoom = max(1, 96 // max(chosen.shape[1:3]))
    rows = []
    for start in range(0, len(chosen), 8):
        for each in (chosen, decoded):
            tiles = [np.pad(p, [(1, 1), (1, 1), (0, 0)], constant_values=255) for p in each[start : start + 8]]
            tiles += [np.full_like(tiles[0], 255)] * (min(8, len(chosen)) - len(tiles))
            rows.append(np.concatenate(tiles, axis=1))
    return encode_png(np.concatenate(rows).repeat(zoom, axis=0).repeat(zoom, axis=1))
