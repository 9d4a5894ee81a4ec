"""The loop: batches from an array that fits in memory, one compiled step, a checkpoint after each epoch.

Everything random follows from the seed and the step's number, so a run that was interrupted and resumed ends with
the same weights as one that was not.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import UInt8

from retrieval.errors import TrainingError
from retrieval.model import ModelConfig, Params, build, default_widths
from retrieval.train import resume
from retrieval.train.objective import loss

MIN_IMAGES = 32
"""Fewer say nothing about variance."""
BATCH = 256
LEARNING_RATE = 2e-3
WEIGHT_DECAY = 1e-4
WARMUP_STEPS = 100


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train: with the data, it decides the weights."""

    model: ModelConfig
    epochs: int
    seed: int = 0
    batch: int = BATCH


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands; `images_per_second` since it was started or resumed."""

    step: int
    steps: int
    loss: float
    images_per_second: float
    resumed: bool


@dataclass(frozen=True, slots=True)
class Trained:
    """Weights, and the numbers of the last epoch (means over its steps)."""

    params: Params
    metrics: dict[str, float]
    seconds: float


def default_recipe(
    images: UInt8[np.ndarray, "n h w c"], *, dim: int = 64, epochs: int | None = None, seed: int = 0
) -> Recipe:
    """What fits the data: the network from the image size, the epochs from the number of images."""
    n, height, width, channels = images.shape
    config = ModelConfig((height, width), channels, dim, default_widths((height, width)))
    return Recipe(config, epochs or default_epochs(n), seed, min(BATCH, n))


def default_epochs(images: int) -> int:
    """About 120,000 images seen in all, at least 3 times each and at most 100."""
    return min(100, max(3, round(120_000 / images)))


def train(
    images: UInt8[np.ndarray, "n h w c"],
    recipe: Recipe,
    checkpoints: Path | None = None,
    report: Callable[[Progress], None] = lambda _: None,
) -> Trained:
    """Train on images in [0,255]; takes up where an interrupted run of the same recipe and data stopped.

    Raises TrainingError for fewer than 32 images, for images that are all alike, and for a loss that is not finite.
    """
    checked(images)
    n = len(images)
    steps_per_epoch = n // recipe.batch
    steps = steps_per_epoch * recipe.epochs
    graph, params = build(recipe.model, recipe.seed)
    optimiser = make_optimiser(steps)
    state: resume.State = {"params": params, "optimiser": optimiser.init(params), "seconds": np.float64(0)}
    folder = checkpoints and checkpoints / resume.run_name(recipe, images)
    done = 0
    if folder and (saved := resume.load(folder, state)):
        done, state = saved
    base = jax.random.key(recipe.seed)

    # Not donated: on a CPU that gains nothing, and the checkpoint still reads the old state.
    @jax.jit
    def step(
        params: Params,
        optimiser_state: optax.OptState,
        data: jax.Array,
        order: jax.Array,
        base: jax.Array,
        number: jax.Array,
    ) -> tuple[Params, optax.OptState, dict[str, jax.Array]]:
        rows = jax.lax.dynamic_slice_in_dim(order, (number % steps_per_epoch) * recipe.batch, recipe.batch)
        batch = data[rows].astype(jnp.float32) / 255
        key = jax.random.fold_in(base, number)
        (total, terms), grads = jax.value_and_grad(lambda p: loss(graph, p, batch, key), has_aux=True)(params)
        updates, optimiser_state = optimiser.update(grads, optimiser_state, params)
        return optax.apply_updates(params, updates), optimiser_state, {"loss": total, **terms}

    data = jax.device_put(images)
    started, resumed_at, metrics = time.monotonic(), done, dict[str, float]()
    spent = float(state["seconds"])
    for epoch in range(done // steps_per_epoch, recipe.epochs):
        order = jnp.asarray(np.random.default_rng([recipe.seed, epoch]).permutation(n))
        history: list[dict[str, jax.Array]] = []
        for _ in range(steps_per_epoch):
            state["params"], state["optimiser"], terms = step(
                state["params"], state["optimiser"], data, order, base, jnp.int32(done)
            )
            history.append(terms)
            done += 1
            if len(history) % 10 == 0 or len(history) == steps_per_epoch:
                value = float(terms["loss"])
                if not np.isfinite(value):
                    raise TrainingError(f"the loss is {value} at step {done} of {steps}: nothing was saved")
                rate = (done - resumed_at) * recipe.batch / (time.monotonic() - started)
                report(Progress(done, steps, value, rate, resumed_at > 0))
        metrics = {name: float(np.mean([h[name] for h in history])) for name in history[0]}
        state["seconds"] = np.float64(spent + time.monotonic() - started)
        if folder and done < steps:
            resume.save(folder, done, state)
    if folder:
        resume.forget(folder)
    return Trained(state["params"], metrics, float(state["seconds"]))


def make_optimiser(steps: int) -> optax.GradientTransformation:
    """AdamW with a linear warm-up and a cosine to zero."""
    warmup = min(WARMUP_STEPS, max(1, steps // 10))
    schedule = optax.warmup_cosine_decay_schedule(0, LEARNING_RATE, warmup, max(steps, warmup + 1))
    return optax.adamw(schedule, weight_decay=WEIGHT_DECAY)


def checked(images: UInt8[np.ndarray, "n h w c"]) -> None:
    """Raise TrainingError for data from which nothing can be learned."""
    if len(images) < MIN_IMAGES:
        raise TrainingError(f"{len(images)} images to train on, but at least {MIN_IMAGES} are needed; give more")
    if (images == images[0]).all():
        raise TrainingError(f"all {len(images)} images are the same: there is nothing to learn; check the source")
