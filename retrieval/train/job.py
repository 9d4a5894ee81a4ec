"""From the pictures to a model that is saved: read, choose a recipe, train, save, and only then forget the run."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from retrieval.config import Settings
from retrieval.images.decode import encode_png
from retrieval.model import saved_models
from retrieval.model.autoencoder import to_flat
from retrieval.model.encoder import Encoder, use_compilation_cache
from retrieval.model.saved_models import SavedModel
from retrieval.sources import Source
from retrieval.sources.read import Refused
from retrieval.train.checkpoints import LogEntry, delete
from retrieval.train.data import read_training_images
from retrieval.train.distributed import is_primary, process_group
from retrieval.train.loop import Progress, train
from retrieval.train.options import TrainOptions
from retrieval.train.recipe import Recipe, default_preset, default_recipe
from retrieval.train.step import describe_hardware
from retrieval.util.reporting import ReportCount, ignore


def train_model(
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

    `log` gets the numbers of each round. What the user should be told is in the model's metrics as `warnings`.
    With `options.hosts` each process calls this; only the first saves the model, the others return it unsaved.
    Raises SourceError when no image can be used, TrainingError when the images cannot be learned from, ModelError when
    the model cannot be saved; the run's last checkpoint is then still there, and the same call goes on from it.
    """
    use_compilation_cache(settings.xla_cache)
    with process_group(options.hosts):
        started = time.monotonic()
        pictures = read_training_images(sources, options, reading)
        seconds = time.monotonic() - started
        recipe = default_recipe(
            pictures.images,
            dim=options.dim,
            epochs=options.epochs,
            budget=options.budget,
            seed=options.seed,
            objective=options.objective,
            preset=options.preset,
        )
        trained = train(pictures.images, recipe, settings.checkpoints, training, log)
    numbers = {
        "images": len(pictures.images),
        "refused": len(pictures.refused),
        "sources": ", ".join(source.spec for source in sources),
        **describe_recipe(recipe, options.preset or default_preset(recipe.model.channels)),
        **{name: round(value, 5) for name, value in trained.metrics.items()},
        "stopped_early": trained.stopped_early,
        "reading_seconds": round(seconds, 1),
        "hardware": describe_hardware(),
        "warnings": [*pictures.warnings, *trained.warnings],
    }
    weights = {name: np.asarray(array) for name, array in to_flat(trained.params).items()}
    draft = SavedModel(recipe.model, weights, saved_models.fingerprint(recipe.model, weights), numbers, settings.models)
    if not is_primary():
        return draft, pictures.refused
    picture = draw_reconstructions(Encoder(draft), pictures.images)
    model = saved_models.save(settings.models, recipe.model, weights, numbers, picture, trained.history)
    if make_default or saved_models.default(settings.models) is None:
        saved_models.set_default(model)
    if trained.checkpoints:
        delete(trained.checkpoints)
    return model, pictures.refused


def describe_recipe(recipe: Recipe, preset: str) -> dict[str, Any]:
    """The recipe for the card; of the distortions, those that are made."""
    distortion = {name: value for name, value in dataclasses.asdict(recipe.distortion).items() if value}
    return {
        "objective": recipe.objective,
        "preset": preset,
        "dim": recipe.model.dim,
        "batch": recipe.batch,
        "time_budget": recipe.budget,
        "seed": recipe.seed,
        "distortion": {} if recipe.objective == "reconstruction" else distortion,
    }


def draw_reconstructions(encoder: Encoder, images: UInt8[np.ndarray, "n h w c"]) -> bytes:
    """A PNG: sixteen images in two double rows, each above what the decoder makes of its code."""
    chosen = images[:: max(1, len(images) // 16)][:16]
    decoded = np.rint(encoder.decode(encoder.encode(chosen)) * 255).astype(np.uint8)
    zoom = max(1, 96 // max(chosen.shape[1:3]))
    rows = []
    for start in range(0, len(chosen), 8):
        for pictures in (chosen, decoded):
            tiles = [np.pad(p, [(1, 1), (1, 1), (0, 0)], constant_values=255) for p in pictures[start : start + 8]]
            tiles += [np.full_like(tiles[0], 255)] * (min(8, len(chosen)) - len(tiles))
            rows.append(np.concatenate(tiles, axis=1))
    return encode_png(np.concatenate(rows).repeat(zoom, axis=0).repeat(zoom, axis=1))
