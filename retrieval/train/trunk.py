"""Training on the trunk: features of images and their views, a head on them, then a decoder that draws images.

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
from retrieval.model.trunk_encoder import pooled
from retrieval.model.trunk_weights import POOLED
from retrieval.train.augment import Distortion, make_views, trunk_distortion
from retrieval.train.checkpoints import LogEntry
from retrieval.train.closed_form import choose_shrinkage
from retrieval.train.diagnostics import MIN_IMAGES, Diagnostics, check_data, split_held_out
from retrieval.train.head import BATCH as HEAD_BATCH
from retrieval.train.head import train_head
from retrieval.train.loop import COMPILING, Progress, RunClock, TrainResult
from retrieval.train.optimiser import learning_rate, make_optimiser
from retrieval.util.wording import count_of

VIEWS = 4
"""Maximum number of distorted views of each image; there are fewer if the images are many."""
COMPUTED = 24_000
"""Images and views whose features are computed, at most."""
TOGETHER = 16
"""Images whose views are computed together, by one thread."""
FEATURES_SHARE, HEAD_SHARE = 0.7, 0.9
"""Shares of a time budget after which no more features are computed, and after which the head is done."""
DIM, SMALL_DIM, SMALL = 128, 64, 500
"""Dimensions of the embedding, and those for fewer images than SMALL."""
SEEN, MOST_EPOCHS = 100_000, 100
"""Images that the head sees in all, and over how many passes at most."""
DRAWN, BATCH = 60_000, 64
"""Images that the decoder draws in all, and in a batch."""
PATIENCE = 5
"""Passes without a better held-out error after which the decoder is done."""


@dataclass(frozen=True, slots=True)
class TrunkRecipe:
    """How to train on the trunk. With the images, it determines the weights, unless there is a budget.

    model: the network
    epochs: passes over the images
    views: distorted views of each
    seed: of all random choices
    distortion: the augmentation of the views
    budget: seconds; None: no limit
    """

    model: ModelConfig
    epochs: int
    views: int
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
    epochs = epochs or min(MOST_EPOCHS, math.ceil(SEEN / n))
    views = min(VIEWS, max(1, COMPUTED // n - 1))
    return TrunkRecipe(config, epochs, views, seed, trunk_distortion(images), budget)


def train_on_trunk(
    images: UInt8[np.ndarray, "n h w 3"],
    recipe: TrunkRecipe,
    report: Callable[[Progress], None] = lambda progress: None,
    log: Callable[[LogEntry], None] = lambda line: None,
) -> TrainResult:
    """Fit a model on the trunk to images in [0, 255].

    report: called after each batch of features, each step of the head, and each of the decoder's passes
    log: called with the metrics of the head, every few steps
    Raises TrainingError for fewer than 32 images, for images that are all the same, when the embedding collapses, and
    when the budget is too short.
    """
    check_data(images)
    started = time.monotonic()
    order = np.random.default_rng([recipe.seed]).permutation(len(images))
    clean, views = compute_features(images[order], recipe, report, started)
    if len(clean) < min(MIN_IMAGES, len(images)):
        raise TrainingError(
            f"the time budget of {recipe.budget:g} s sufficed for the features of {count_of(len(clean), 'image')}, but"
            f" at least {MIN_IMAGES} are needed",
            hint="give a larger budget",
        )
    warnings = []
    if len(clean) < len(images):
        warnings.append(
            f"the time budget sufficed for the features of {len(clean):,} of {count_of(len(images), 'image')}"
        )
    shrinkage = choose_shrinkage(clean, views)

    def report_head(done: float, loss: float, speed: float, step: int) -> None:
        report(Progress(step, FEATURES_SHARE + (HEAD_SHARE - FEATURES_SHARE) * done, loss, speed, resumed=False))

    per_epoch = len(clean) / min(HEAD_BATCH, len(clean))
    left = None if recipe.budget is None else max(0.1, started + HEAD_SHARE * recipe.budget - time.monotonic())
    clock = RunClock(max(1, round(recipe.epochs * per_epoch)), left)
    head = train_head(clean, views, recipe.model.dim, shrinkage, recipe.seed, clock, report_head, log)
    codes = (head.features / np.linalg.norm(head.features, axis=1, keepdims=True).clip(1e-6)).astype(np.float32)
    drawn = block_means(images[order[: len(clean)]], TRUNK_PICTURE).astype(np.float32) / 255
    decoder = train_decoder(codes, drawn, recipe, report, started)
    diagnostics = Diagnostics.of(head.codes, decoder.draw(codes), drawn)
    flat = {**{f"encoder.{name}": array for name, array in head.weights.items()}, **decoder.weights}
    step = head.history[-1]["step"]
    numbers: LogEntry = {
        "epochs": step / per_epoch,
        **head.history[-1],
        "seconds": round(time.monotonic() - started, 2),
        "shrinkage": shrinkage,
        "views": len(views),
        **diagnostics.numbers(),
    }
    warnings += diagnostics.check(int(step), fatal=False)
    return TrainResult(
        from_flat(recipe.model, flat)[1], numbers, head.history, warnings, stopped_early=False, checkpoints=None
    )


def compute_features(
    images: UInt8[np.ndarray, "n h w 3"], recipe: TrunkRecipe, report: Callable[[Progress], None], started: float
) -> tuple[Float32[np.ndarray, "m p"], Float32[np.ndarray, "v m p"]]:
    """The trunk's features of the images and of the recipe's views of each; of the first m, if the budget ends before.

    started: when the run did, by `time.monotonic`
    """
    graph, params = nnx.split(trunk_module.load())
    weights, tree = jax.tree.flatten(params)  # a list: JAX flattens NNX's own tree slowly, at each call
    until = started + FEATURES_SHARE * recipe.budget if recipe.budget else float("inf")

    @jax.jit
    def compute(weights: list[Array], images: UInt8[Array, "b h w c"], key: Array) -> Float[Array, "a b p"]:
        net = nnx.merge(graph, jax.tree.unflatten(tree, weights))
        plain = images.astype(jnp.float32) / 255
        seen = [make_views(each, plain, recipe.distortion) for each in jax.random.split(key, recipe.views)]
        found = pooled(net, jnp.concatenate([plain, *seen]))
        return found.reshape(1 + recipe.views, len(images), -1)

    key = jax.random.key(recipe.seed)

    def batch(start: int) -> Float32[np.ndarray, "a b p"] | None:
        if time.monotonic() > until:
            return None
        part = images[start : start + TOGETHER]
        padded = np.pad(part, [(0, TOGETHER - len(part)), (0, 0), (0, 0), (0, 0)])  # one size: compiled once
        return np.asarray(compute(weights, padded, jax.random.fold_in(key, start)))[:, : len(part)]

    found, done = [], 0
    report(COMPILING)
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
    every = np.concatenate(found or [np.empty((1 + recipe.views, 0, POOLED), np.float32)], axis=1)
    return every[0], every[1:]


@dataclass(frozen=True, slots=True)
class TrainedDecoder:
    """A decoder.

    draw: embeddings to images in [0, 1]
    weights: by dotted name
    """

    draw: Callable[[Float32[np.ndarray, "n d"]], Float32[np.ndarray, "n h w c"]]
    weights: dict[str, Any]


def train_decoder(
    codes: Float32[np.ndarray, "n d"],
    drawn: Float32[np.ndarray, "n h w c"],
    recipe: TrunkRecipe,
    report: Callable[[Progress], None],
    started: float,
) -> TrainedDecoder:
    """Train the decoder to draw the images from their embeddings, until held-out images are drawn no better."""
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

    report(COMPILING)
    evaluate = jax.jit(loss_of)
    state, best, best_loss, best_epoch = optimiser.init(params), params, float("inf"), 0
    per_epoch = len(learned) // size
    epochs = min(recipe.epochs, math.ceil(DRAWN / len(learned)))
    left = None if recipe.budget is None else max(0.1, started + recipe.budget - time.monotonic())
    clock = RunClock(epochs * per_epoch, left)
    for epoch in range(epochs):
        losses = []
        for number, rows in enumerate(batches(learned, size, [recipe.seed, epoch])):
            rate = learning_rate(clock.done(epoch * per_epoch + number))
            params, state, loss = step(params, state, codes[rows], drawn[rows], jnp.float32(rate))
            losses.append(loss)
        reached = float(evaluate(params, codes[held], drawn[held]) if len(held) else np.mean(losses))
        if reached < best_loss or not len(held):
            best, best_loss, best_epoch = params, reached, epoch
        steps = (epoch + 1) * per_epoch
        done = 1.0 if epoch - best_epoch >= PATIENCE else clock.done(steps)
        report(Progress(steps, HEAD_SHARE + (1 - HEAD_SHARE) * done, reached, clock.speed(steps * size), resumed=False))
        if done >= 1:
            break
    final = nnx.merge_state(best, stats)

    @jax.jit
    def draw(codes: Array) -> Array:
        return jax.nn.sigmoid(nnx.merge(graph, final)(codes))

    weights = {f"decoder.{name}": np.asarray(array) for name, array in to_flat(final).items()}
    return TrainedDecoder(lambda codes: np.asarray(draw(codes)), weights)


def batches(rows: Int[np.ndarray, " n"], size: int, seed: list[int]) -> Iterator[Int[np.ndarray, " b"]]:
    """The rows, shuffled, in batches; an incomplete last batch is left out."""
    order = np.random.default_rng(seed).permutation(rows)
    return (order[start : start + size] for start in range(0, len(order) - size + 1, size))
