"""The head of a model on the trunk: a linear layer in closed form, and a hidden layer that Optax trains from there.

It is the encoder of an autoencoder of the trunk's features: a decoder reconstructs the features of the undistorted
image from the embedding of a view, and VICReg's terms bring the views of an image together. Half of the time the
second view is of one of the image's nearest neighbours (as in NNCLR: Dwibedi et al. 2021, arXiv 2104.14548): things of
a kind vary in more ways than a distortion can imitate.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float, Float32, Int

from retrieval.model.autoencoder import Params
from retrieval.model.trunk_weights import HIDDEN
from retrieval.train.checkpoints import LogEntry
from retrieval.train.closed_form import fit_projection
from retrieval.train.loop import RunClock
from retrieval.train.objective import Terms, covariance_term, variance_term

BATCH = 256
LEARNING_RATE, WEIGHT_DECAY, WARMUP = 1e-3, 1e-3, 0.075
"""AdamW's peak learning rate and weight decay; the share of the run in which the learning rate rises."""
COVARIANCE_WEIGHT = 0.04
"""VICReg's own: the closed form has decorrelated the dimensions already."""
NEIGHBOURS, NEIGHBOUR_SHARE = 5, 0.5
"""Nearest neighbours from which a second view comes, and how often it does."""
IMAGES_PER_NEIGHBOUR = 40
"""Images of a collection for each neighbour that is used: the fifth nearest of forty images is another thing."""
REFRESH = 50
"""Steps after which the neighbours are found again, by the embedding as it is then."""
EMPHASIS = 0.5
"""Power of each dimension's standard deviation, by which it is multiplied: the reliable ones count more."""
LOG_STEPS = 50
BLOCK = 1024
"""Queries whose distances to all images are in memory at a time."""

Weights = dict[str, Float32[np.ndarray, "..."]]


class FeatureAutoencoder(nnx.Module):
    """The head with a decoder to features, both of features that are centred and of variance 1."""

    def __init__(self, projection: Float32[np.ndarray, "p d"], *, rngs: nnx.Rngs) -> None:
        inputs, dim = projection.shape
        self.dense = nnx.Param(jnp.asarray(projection))
        self.hidden = nnx.Linear(inputs, HIDDEN, rngs=rngs)
        self.added = nnx.Linear(HIDDEN, dim, kernel_init=nnx.initializers.zeros_init(), rngs=rngs)
        self.widen = nnx.Linear(dim, HIDDEN, rngs=rngs)
        self.out = nnx.Linear(HIDDEN, inputs, rngs=rngs)

    def encode(self, features: Float[Array, "b p"]) -> Float[Array, "b d"]:
        return features @ self.dense[...] + self.added(nnx.gelu(self.hidden(features)))

    def decode(self, codes: Float[Array, "b d"]) -> Float[Array, "b p"]:
        features: Array = self.out(nnx.gelu(self.widen(codes)))
        return features


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """A trained head.

    weights: by name
    codes: embeddings of the training images, as they were trained
    features: the same with EMPHASIS, as the weights give them before they are normalised
    history: the mean metrics of each LOG_STEPS steps
    """

    weights: Weights
    codes: Float32[np.ndarray, "n d"]
    features: Float32[np.ndarray, "n d"]
    history: list[LogEntry]


def train_head(
    clean: Float32[np.ndarray, "n p"],
    views: Float32[np.ndarray, "v n p"],
    dim: int,
    shrinkage: float,
    seed: int,
    clock: RunClock,
    report: Callable[[float, float, float, int], None],
    log: Callable[[LogEntry], None],
) -> TrainedHead:
    """Train the head.

    clean: features of undistorted images
    views: those of the views of each
    shrinkage: of the closed form, as `choose_shrinkage` gives it
    clock: when the run ends; its steps are those of batches of BATCH images, or all if there are fewer
    report: called after each step with the share that is done, the loss, images per second, and the step
    log: called with the mean metrics of each LOG_STEPS steps
    """
    kernel, _ = fit_projection(clean, views, dim, shrinkage)
    mean = clean.mean(axis=0)
    scale = np.float32(1 / np.sqrt(((clean - mean) ** 2).mean()))
    seen = (np.concatenate([clean[None], views]) - mean) * scale
    images = seen[0]
    kernel /= (images @ kernel).std()
    spread = (images @ kernel).std(axis=0)
    graph, params = nnx.split(FeatureAutoencoder(kernel, rngs=nnx.Rngs(seed)))
    optimiser = optax.adamw(1.0, weight_decay=WEIGHT_DECAY)

    def loss_of(params: Params, first: Array, second: Array, target: Array) -> tuple[Array, Terms]:
        model = nnx.merge(graph, params)
        a, b = model.encode(first), model.encode(second)
        terms = {
            "reconstruction": jnp.mean((model.decode(a) - target) ** 2),
            "invariance": jnp.mean((a - b) ** 2) / jnp.mean(spread**2),
            "variance": variance_term(a / spread) + variance_term(b / spread),
            "covariance": COVARIANCE_WEIGHT * (covariance_term(a / spread) + covariance_term(b / spread)),
        }
        return jnp.sum(jnp.stack(list(terms.values()))), terms

    @jax.jit
    def step(
        params: Params, state: optax.OptState, first: Array, second: Array, target: Array, rate: Array
    ) -> tuple[Params, optax.OptState, Terms]:
        (total, terms), gradient = jax.value_and_grad(loss_of, has_aux=True)(params, first, second, target)
        updates, state = optimiser.update(gradient, state, params)
        return optax.apply_updates(params, optax.tree.scale(rate, updates)), state, {"loss": total, **terms}

    @jax.jit
    def encode(params: Params, features: Array) -> Array:
        return nnx.merge(graph, params).encode(features)

    rng = np.random.default_rng([seed, 1])
    size = min(BATCH, len(images))
    count = min(NEIGHBOURS, len(images) // IMAGES_PER_NEIGHBOUR)
    state, history, terms, number = optimiser.init(params), list[LogEntry](), list[Terms](), 0

    def close_round() -> None:
        history.append(mean_entry(terms, number, clock.seconds))
        terms.clear()
        log(history[-1])

    while not number or clock.done(number) < 1:
        if count and number % REFRESH == 0:
            near = find_neighbours(np.asarray(encode(params, images)), count)
        rows = rng.choice(len(images), size, replace=False)
        others = rows
        if count:
            chosen = near[rows, rng.integers(0, count, size)]
            others = np.where(rng.random(size) < NEIGHBOUR_SHARE, chosen, rows)
        first, second = rng.permuted(np.tile(np.arange(len(seen)), (size, 1)), axis=1)[:, :2].T
        params, state, found = step(
            params,
            state,
            seen[first, rows],
            seen[second, others],
            images[rows],
            jnp.float32(learning_rate(clock.done(number))),
        )
        terms.append(found)
        number += 1
        if number % LOG_STEPS == 0:
            close_round()
        report(clock.done(number), float(found["loss"]), clock.speed(number * size), number)
    if terms:
        close_round()
    codes = np.asarray(encode(params, images))
    centre, power = codes.mean(axis=0), codes.std(axis=0) ** EMPHASIS
    weights = fold(nnx.merge(graph, params), mean, scale, centre, power)
    return TrainedHead(weights, codes, (codes - centre) * power, history)


def mean_entry(terms: list[Terms], number: int, seconds: float) -> LogEntry:
    """The mean of each term over some steps, the last of which is `number`."""
    means = {name: float(np.mean([each[name] for each in terms])) for name in terms[0]}
    return {"step": number, "seconds": round(seconds, 2), **means}


def learning_rate(done: float) -> float:
    """AdamW's learning rate: linear warm-up, then cosine decay to zero; done: share of the run, in [0, 1]."""
    schedule = optax.warmup_cosine_decay_schedule(0.0, LEARNING_RATE, round(1000 * WARMUP), 1000)
    return float(schedule(1 + round(1000 * done)))


def fold(
    model: FeatureAutoencoder,
    mean: Float32[np.ndarray, " p"],
    scale: np.float32,
    centre: Float32[np.ndarray, " d"],
    power: Float32[np.ndarray, " d"],
) -> Weights:
    """The head's weights for features as the trunk gives them.

    mean, scale: with which the features were centred and scaled for the model
    centre, power: with which its embeddings are to be centred and scaled
    """
    dense = np.asarray(model.dense[...]) * scale * power
    hidden = np.asarray(model.hidden.kernel[...]) * scale
    assert model.hidden.bias is not None
    assert model.added.bias is not None
    weights = {
        "dense.kernel": dense,
        "dense.bias": (np.asarray(model.added.bias[...]) - centre) * power - mean @ dense,
        "hidden.kernel": hidden,
        "hidden.bias": np.asarray(model.hidden.bias[...]) - mean @ hidden,
        "added.kernel": np.asarray(model.added.kernel[...]) * power,
    }
    return {name: np.ascontiguousarray(array, np.float32) for name, array in weights.items()}


def find_neighbours(codes: Float[np.ndarray, "n d"], count: int) -> Int[np.ndarray, "n k"]:
    """The `count` nearest others of each embedding, by cosine, in no order."""
    unit = codes / np.linalg.norm(codes, axis=1, keepdims=True).clip(1e-9)
    near = []
    for start in range(0, len(unit), BLOCK):
        likeness = unit[start : start + BLOCK] @ unit.T
        rows = np.arange(len(likeness))
        likeness[rows, start + rows] = -np.inf
        near.append(np.argpartition(likeness, -count, axis=1)[:, -count:])
    return np.concatenate(near)
