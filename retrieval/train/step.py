"""One step of training, compiled once, on every device that JAX sees."""

import math
import os
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Key, UInt8

from retrieval.model import Autoencoder, Params
from retrieval.train.objective import Terms, loss
from retrieval.train.recipe import Recipe


class Learner(NamedTuple):
    """The weights that learn, and the optimiser's state: what a step takes and gives."""

    params: Params
    optimiser: optax.OptState


def hardware() -> str:
    """What trains here, in a few words."""
    kinds = ", ".join(sorted({device.device_kind for device in jax.devices()}))
    return f"{jax.device_count()} × {kinds}, {os.cpu_count()} processor cores"


class Stepper:
    """Steps over images that lie on the devices: a step's only input is which rows, so nothing can starve it.

    The batch is split over the devices, weights and images are on each (JAX's sharding); a batch that cannot be split
    evenly uses fewer. The codes' statistics are those of the whole batch, so the losses are the same on any number.
    """

    def __init__(
        self,
        graph: nnx.GraphDef[Autoencoder],
        stats: Params,
        optimiser: optax.GradientTransformation,
        recipe: Recipe,
        images: UInt8[np.ndarray, "n h w c"],
        batch: int,
    ) -> None:
        devices = jax.devices()[: math.gcd(batch, jax.device_count())]
        mesh = Mesh(np.array(devices), "batch")
        everywhere, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("batch"))
        self._images = jax.device_put(images, everywhere)
        self._base = jax.device_put(jax.random.key(recipe.seed), everywhere)
        self._everywhere, self._batch = everywhere, batch

        def loss_of(params: Params, clean: Array, key: Array) -> tuple[Array, Terms]:
            return loss(graph, nnx.merge_state(params, stats), clean, key, recipe.objective, recipe.distortion)

        # Not donated: on a CPU that gains nothing, and the checkpoint still reads the old state.
        @jax.jit(out_shardings=everywhere)
        def step(
            learner: Learner,
            images: UInt8[Array, "n h w c"],
            order: Int[Array, " m"],
            base: Key[Array, ""],
            number: Int[Array, ""],
            rate: Float[Array, ""],
        ) -> tuple[Learner, Terms]:
            start = number % (len(order) // batch) * batch
            rows = jax.lax.dynamic_slice_in_dim(order, start, batch)
            clean = jax.lax.with_sharding_constraint(images[rows].astype(jnp.float32) / 255, split)
            key = jax.random.fold_in(base, number)
            (total, terms), gradient = jax.value_and_grad(loss_of, has_aux=True)(learner.params, clean, key)
            updates, state = optimiser.update(gradient, learner.optimiser, learner.params)
            params = optax.apply_updates(learner.params, optax.tree.scale(rate, updates))
            return Learner(params, state), {"loss": total, **terms}

        @jax.jit
        def judge(params: Params, images: Array, rows: Array, key: Array) -> Array:
            return loss_of(params, images[rows].astype(jnp.float32) / 255, key)[0]

        self._step, self._judge = step, judge

    def place(self, learner: Learner) -> Learner:
        """The same learner on every device."""
        placed: Learner = jax.device_put(learner, self._everywhere)
        return placed

    def order(self, rows: Int[np.ndarray, " m"]) -> Int[Array, " m"]:
        """An epoch's order of rows, on every device."""
        placed: jax.Array = jax.device_put(rows.astype(np.int32), self._everywhere)
        return placed

    def step(self, learner: Learner, order: Int[Array, " m"], number: int, rate: float) -> tuple[Learner, Terms]:
        """Take the step of that number, at that learning rate; returns before it is computed."""
        numbers = jnp.int32(number), jnp.float32(rate)
        taken: tuple[Learner, Terms] = self._step(learner, self._images, order, self._base, *numbers)
        return taken

    def judge(self, learner: Learner, rows: Int[np.ndarray, " k"]) -> float:
        """The mean loss of some images, the same views of them every time; batch by batch, as much as fills them."""
        size = min(self._batch, len(rows))
        batches = [rows[start : start + size] for start in range(0, len(rows) - size + 1, size)]
        keys = jax.random.split(self._base, len(batches))
        losses = [
            float(self._judge(learner.params, self._images, self.order(part), key))
            for part, key in zip(batches, keys, strict=True)
        ]
        return sum(losses) / len(losses)
