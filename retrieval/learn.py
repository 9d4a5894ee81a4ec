"""The `train` job: images of some sources in, a saved model out."""

import statistics
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8

from retrieval import checkpoint
from retrieval.checkpoint import SavedModel
from retrieval.config import Settings
from retrieval.encode import Encoder, use_compilation_cache
from retrieval.errors import BadImage, SourceError
from retrieval.images.decode import encode_png, probe
from retrieval.model import MIN_SIDE, to_flat
from retrieval.reading import Loaded, Refused, read_pictures
from retrieval.sources import Entry, Source
from retrieval.train import Progress, default_recipe, train

PROBED = 200
"""Images looked at to choose the model's image size and channels."""
DEFAULT_SIDE = 64
"""For pictures that are larger than that, or of several sizes."""
PIXEL_BUDGET = 2**30
"""Bytes of decoded images held in memory; from a larger source a random part is taken."""


def learn(
    sources: Sequence[Source],
    settings: Settings,
    *,
    dim: int = 64,
    epochs: int | None = None,
    seed: int = 0,
    make_default: bool = True,
    reading: Callable[[int, int], None] = lambda done, total: None,
    training: Callable[[Progress], None] = lambda progress: None,
) -> tuple[SavedModel, list[Refused]]:
    """Train on the sources' images and save the model; returns it with the images that were refused.

    Raises SourceError when no image can be used, TrainingError when the images cannot be learned from.
    """
    use_compilation_cache(settings.xla_cache)
    entries = [entry for source in sources for entry in source.entries()]
    size, channels = choose_size(entries)
    images, refused = load_images(entries, size, channels, seed, reading)
    recipe = default_recipe(images, dim=dim, epochs=epochs, seed=seed)
    trained = train(images, recipe, settings.checkpoints, training)
    weights = {name: np.asarray(array) for name, array in to_flat(trained.params).items()}
    numbers = {
        "images": len(images),
        "refused": len(refused),
        "sources": ", ".join(source.spec for source in sources),
        "dim": dim,
        "epochs": recipe.epochs,
        "batch": recipe.batch,
        "seed": seed,
        "seconds": round(trained.seconds, 1),
        **{name: round(value, 5) for name, value in trained.metrics.items()},
    }
    draft = SavedModel(recipe.model, weights, checkpoint.fingerprint(recipe.model, weights), numbers, settings.models)
    picture = reconstructions(Encoder(draft), images)
    model = checkpoint.save(settings.models, recipe.model, weights, numbers, picture)
    if make_default or checkpoint.default(settings.models) is None:
        checkpoint.set_default(model)
    return model, refused


def choose_size(entries: Sequence[Entry]) -> tuple[tuple[int, int], int]:
    """(height, width) and channels for the model: small images of one size as they are, else 64×64; grey if all are."""
    step = max(1, len(entries) // PROBED)
    shapes = []
    for entry in entries[::step]:
        try:
            shapes.append(probe(entry.read(), entry.key))
        except BadImage:
            continue
    if not shapes:
        tried = len(entries[::step])
        raise SourceError(f"none of {tried} images tried can be read; the first: {first_reason(entries[0])}")
    channels = max(c for _, _, c in shapes)
    height, width = (int(statistics.median(sides)) for sides in list(zip(*shapes, strict=True))[:2])
    alike = all(shape[:2] == (height, width) for shape in shapes)
    if alike and max(height, width) <= DEFAULT_SIDE:
        return (max(height, MIN_SIDE), max(width, MIN_SIDE)), channels
    return (DEFAULT_SIDE, DEFAULT_SIDE), channels


def first_reason(entry: Entry) -> str:
    """Why an entry cannot be read."""
    try:
        probe(entry.read(), entry.key)
    except BadImage as error:
        return str(error)
    return "readable now"


def load_images(
    entries: Sequence[Entry],
    size: tuple[int, int],
    channels: int,
    seed: int,
    reading: Callable[[int, int], None],
) -> tuple[UInt8[np.ndarray, "n h w c"], list[Refused]]:
    """All pictures, or a random part that keeps within PIXEL_BUDGET, as u8[n, h, w, c]."""
    limit = PIXEL_BUDGET // (size[0] * size[1] * channels)
    if len(entries) > limit:
        chosen = np.random.default_rng(seed).choice(len(entries), limit, replace=False)
        entries = [entries[i] for i in np.sort(chosen)]
    images = np.empty((len(entries), *size, channels), np.uint8)
    refused: list[Refused] = []
    good = 0
    for number, item in enumerate(read_pictures(entries, size, channels), start=1):
        if isinstance(item, Loaded):
            images[good] = item.picture.pixels
            good += 1
        else:
            refused.append(item)
        if number % 100 == 0 or number == len(entries):
            reading(number, len(entries))
    if not good:
        raise SourceError(f"none of {len(entries)} images can be used; the first: {refused[0].reason}")
    return images[:good], refused


def reconstructions(encoder: Encoder, images: UInt8[np.ndarray, "n h w c"]) -> bytes:
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
