"""Training on the trunk: features of images and their views, a linear layer in closed form, then a decoder by Optax.

The trunk itself is not trained, so its features are computed once.
"""

import math
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Float32, Int, UInt8

from retrieval.errors import TrainingError
from retrieval.images.reduce import block_means
from retrieval.model import trunk as trunk_module
from retrieval.model.autoencoder import ConvDecoder, from_flat, to_flat
from retrieval.model.config import TRUNK, TRUNK_PICTURE, ModelConfig
from retrieval.model.trunk_encoder import POOLED, pooled
from retrieval.train.augment import Distortion, make_views, trunk_distortion
from retrieval.train.checkpoints import LogEntry
from retrieval.train.closed_form import choose_shrinkage, fit_projection
from retrieval.train.diagnostics import MIN_IMAGES, Diagnostics, check_data, split_held_out
from retrieval.train.loop import Progress, TrainResult
from retrieval.train.optimiser import learning_rate, make_optimiser

IMAGES = 4000
"""Maximum number of images whose features are computed, a random sample."""
VIEWS = 4
"""Distorted views of each image."""
TOGETHER = 16
"""Images whose views are computed together, by one thread."""
FEATURES_SHARE = 0.85
"""Share of a time budget after which no more features are computed; the decoder takes the rest."""
DIM, SMALL_DIM, SMALL = 128, 64, 500
"""Dimensions of the embedding, and those for fewer images than SMALL."""
DECODER_SEEN, MOST_EPOCHS, BATCH = 60_000, 100, 64
"""Images that the decoder sees in all, over how many passes at most, and in a batch."""
PATIENCE = 5
"""Passes without a better held-out error after which the decoder is done."""


@dataclass(frozen=True, slots=True)
class TrunkRecipe:
    """How to train on the trunk. With the images, it determines the weights, unless there is a budget.

    model: the network
    epochs: the decoder's passes over the images
    seed: of all random choices
    distortion: the augmentation of the views
    budget: seconds; None: no limit
    """

    model: ModelConfig
    epochs: int
    seed: int
    distortion: Distortion
    budget: float | None = None


def trunk_recipe(
    images: UInt8[np.ndarray, "n h w c"],
    *,
    dim: int | None = None,
    epochs: int | None = None,
    budget: float | None = None,
    seed: int = 0,
) -> TrunkRecipe:
    """The recipe for these images; None: chosen here."""
    n, height, width, _ = images.shape
    dim = dim or min(DIM if n >= SMALL else SMALL_DIM, max(2, n // 2))
    config = ModelConfig((height, width), 3, dim, (), (), TRUNK, "crop")
    epochs = epochs or min(MOST_EPOCHS, math.ceil(DECODER_SEEN / n))
    return TrunkRecipe(config, epochs, seed, trunk_distortion(images), budget)


def train_on_trunk(
    images: UInt8[np.ndarray, "n h w 3"],
    recipe: TrunkRecipe,
    report: Callable[[Progress], None] = lambda progress: None,
    log: Callable[[LogEntry], None] = lambda line: None,
) -> TrainResult:
    """Fit a model on the trunk to images in [0, 255].

    report: called after each batch of features, and after each of the decoder's passes
    log: called with the metrics of each of the decoder's passes
    Raises TrainingError for fewer than 32 images, for images that are all the same, when the embedding collapses, and
    when the budget is too short.
    """
    check_data(images)
    started = time.monotonic()
    order = np.random.default_rng([recipe.seed]).permutation(len(images))
    clean, views = compute_features(images[order], recipe, report, started)
    if len(clean) < min(MIN_IMAGES, len(images)):
        raise TrainingError(
            f"the time budget is {recipe.budget:g} s, in which the features of {len(clean)} images were computed, but"
            f" at least {MIN_IMAGES} are needed",
            hint="give a larger budget",
        )
    warnings = []
    if len(clean) < len(images):
        warnings.append(f"the time budget sufficed for the features of {len(clean):,} of {len(images):,} images")
    shrinkage = choose_shrinkage(clean, views)
    kernel, bias = fit_projection(clean, views, recipe.model.dim, shrinkage)
    features = clean @ kernel + bias
    codes = (features / np.linalg.norm(features, axis=1, keepdims=True).clip(1e-6)).astype(np.float32)
    drawn = block_means(images[order[: len(clean)]], TRUNK_PICTURE).astype(np.float32) / 255
    decoder = train_decoder(codes, drawn, recipe, report, log, started)
    diagnostics = Diagnostics.of(features, decoder.draw(codes), drawn)
    flat = {
        "encoder.dense.kernel": kernel,
        "encoder.dense.bias": bias,
        **{name: array for name, array in decoder.weights.items() if name.startswith("decoder.")},
    }
    step = decoder.history[-1]["step"]
    numbers: LogEntry = {
        "epochs": len(decoder.history),
        **decoder.history[-1],
        "seconds": round(time.monotonic() - started, 2),
        "shrinkage": shrinkage,
        "views": VIEWS,
        **diagnostics.numbers(),
    }
    warnings += diagnostics.check(int(step), fatal=False)
    return TrainResult(from_flat(recipe.model, flat)[1], numbers, decoder.history, warnings, decoder.early, None)


def compute_features(
    images: UInt8[np.ndarray, "n h w 3"], recipe: TrunkRecipe, report: Callable[[Progress], None], started: float
) -> tuple[Float32[np.ndarray, "m p"], Float32[np.ndarray, "v m p"]]:
    """The trunk's features of the images and of VIEWS views of each; of the first m images, if the budget ends before.

    started: when the run did, by `time.monotonic`
    """
    graph, params = nnx.split(trunk_module.load())
    weights, tree = jax.tree.flatten(params)  # a list: JAX flattens NNX's own tree slowly, at each call
    until = started + FEATURES_SHARE * recipe.budget if recipe.budget else float("inf")

    @jax.jit
    def compute(weights: list[Array], images: UInt8[Array, "b h w c"], key: Array) -> Float[Array, "a b p"]:
        net = nnx.merge(graph, jax.tree.unflatten(tree, weights))
        plain = images.astype(jnp.float32) / 255
        seen = [make_views(each, plain, recipe.distortion) for each in jax.random.split(key, VIEWS)]
        found = pooled(net, jnp.concatenate([plain, *seen]))
        return found.reshape(1 + VIEWS, len(images), -1)

    key = jax.random.key(recipe.seed)

    def batch(start: int) -> Float32[np.ndarray, "a b p"] | None:
        if time.monotonic() > until:
            return None
        part = images[start : start + TOGETHER]
        padded = np.pad(part, [(0, TOGETHER - len(part)), (0, 0), (0, 0), (0, 0)])  # one size: compiled once
        return np.asarray(compute(weights, padded, jax.random.fold_in(key, start)))[:, : len(part)]

    found, done = [], 0
    with ThreadPoolExecutor(os.cpu_count(), "features") as threads:
        try:
            for part in threads.map(batch, range(0, len(images), TOGETHER)):
                if part is None:
                    break
                found.append(part)
                done += part.shape[1]
                speed = done / max(time.monotonic() - started, 1e-9)
                report(Progress(0, FEATURES_SHARE * done / len(images), None, speed, resumed=False))
        finally:
            threads.shutdown(cancel_futures=True)
    every = np.concatenate(found or [np.empty((1 + VIEWS, 0, POOLED), np.float32)], axis=1)
    return every[0], every[1:]


@dataclass(frozen=True, slots=True)
class TrainedDecoder:
    """A decoder with its history.

    draw: embeddings to images in [0, 1]
    weights: by dotted name
    early: the held-out error stopped improving
    """

    draw: Callable[[Float32[np.ndarray, "n d"]], Float32[np.ndarray, "n h w c"]]
    weights: dict[str, Any]
    history: list[LogEntry]
    early: bool


def train_decoder(
    codes: Float32[np.ndarray, "n d"],
    drawn: Float32[np.ndarray, "n h w c"],
    recipe: TrunkRecipe,
    report: Callable[[Progress], None],
    log: Callable[[LogEntry], None],
    started: float,
) -> TrainedDecoder:
    """Train the decoder to draw the images from their embeddings."""
    graph, params = nnx.split(ConvDecoder(recipe.model, rngs=nnx.Rngs(recipe.seed)))
    params, stats = nnx.split_state(params, nnx.Param, nnx.BatchStat)
    optimiser = make_optimiser(params)
    learned, held = split_held_out(len(codes), recipe.seed)
    size = min(BATCH, len(learned))

    def loss_of(params: Any, codes: Array, images: Array) -> Array:
        logits = nnx.merge(graph, nnx.merge_state(params, stats))(codes)
        loss: Array = optax.sigmoid_binary_cross_entropy(logits, images).mean()
        return loss

    @jax.jit
    def step(params: Any, state: Any, codes: Array, images: Array, rate: Array) -> tuple[Any, Any, Array]:
        loss, gradient = jax.value_and_grad(loss_of)(params, codes, images)
        updates, state = optimiser.update(gradient, state, params)
        return optax.apply_updates(params, optax.tree.scale(rate, updates)), state, loss

    evaluate = jax.jit(loss_of)
    state, history, best, best_loss, best_epoch = optimiser.init(params), list[LogEntry](), params, float("inf"), 0
    begun, per_epoch = time.monotonic(), len(learned) // size
    for epoch in range(recipe.epochs):
        losses = []
        for number, rows in enumerate(batches(learned, size, [recipe.seed, epoch])):
            share = (epoch + number / per_epoch) / recipe.epochs
            if recipe.budget:
                left = started + recipe.budget - begun
                share = max(share, min(1.0, (time.monotonic() - begun) / left if left > 0 else 1.0))
            params, state, loss = step(params, state, codes[rows], drawn[rows], jnp.float32(learning_rate(share)))
            losses.append(loss)
        line: LogEntry = {
            "step": (epoch + 1) * per_epoch,
            "seconds": round(time.monotonic() - started, 2),
            "loss": float(np.mean(losses)),
        }
        if len(held):
            line["held_out"] = float(evaluate(params, codes[held], drawn[held]))
        history.append(line)
        log(line)
        if line.get("held_out", 0.0) < best_loss or not len(held):
            best, best_loss, best_epoch = params, line.get("held_out", best_loss), epoch
        over = recipe.budget is not None and time.monotonic() > started + recipe.budget
        stalled = epoch - best_epoch >= PATIENCE
        done = 1.0 if over or stalled else (epoch + 1) / recipe.epochs
        speed = (epoch + 1) * len(learned) / max(time.monotonic() - begun, 1e-9)
        report(Progress(int(line["step"]), FEATURES_SHARE + (1 - FEATURES_SHARE) * done, line["loss"], speed, False))
        if done >= 1:
            break
    final = nnx.merge_state(best, stats)

    @jax.jit
    def draw(codes: Array) -> Array:
        return jax.nn.sigmoid(nnx.merge(graph, final)(codes))

    weights = {f"decoder.{name}": np.asarray(array) for name, array in to_flat(final).items()}
    return TrainedDecoder(lambda codes: np.asarray(draw(codes)), weights, history, stalled)


def batches(rows: Int[np.ndarray, " n"], size: int, seed: list[int]) -> Iterator[Int[np.ndarray, " b"]]:
    """The rows, shuffled, in batches; an incomplete last batch is left out."""
    order = np.random.default_rng(seed).permutation(rows)
    return (order[start : start + size] for start in range(0, len(order) - size + 1, size))
