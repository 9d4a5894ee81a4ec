"""One training step, compiled once, on all devices that JAX sees, including those of other processes."""

import math
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, Int, Key, UInt8

from retrieval.errors import TrainingError
from retrieval.model.autoencoder import Autoencoder, Params
from retrieval.train.distributed import connect_devices
from retrieval.train.objective import Terms, loss
from retrieval.train.recipe import Recipe
from retrieval.util.wording import count_of


class TrainState(NamedTuple):
    """The trainable weights and the optimiser's state: the input and output of a step."""

    params: Params
    optimiser: optax.OptState


def describe_hardware() -> str:
    """The devices of this run in a few words, as for the model card."""
    kinds = ", ".join(sorted({device.device_kind for device in jax.devices()}))
    several = f" in {jax.process_count()} processes" if jax.process_count() > 1 else ""
    return f"{jax.device_count()} × {kinds}{several}, {os.cpu_count()} processor cores"


def count_devices(batch: int, processes: int, each: int) -> int:
    """How many devices of each process are used: the most that split its part of a batch evenly.

    batch: images per batch
    each: devices per process
    Raises TrainingError when the batch cannot be split evenly over the processes.
    """
    if batch % processes:
        fewer = max(number for number in range(1, processes) if batch % number == 0)
        raise TrainingError(
            f"a batch of {count_of(batch, 'image')} cannot be split evenly over {processes} processes",
            hint=f"train with {fewer}",
        )
    return math.gcd(batch // processes, each)


def replicate(value: Any, everywhere: NamedSharding) -> jax.Array:
    """Copy an array to every device of a replicated sharding; each process copies to its own devices."""
    if everywhere.is_fully_addressable:
        placed: jax.Array = jax.device_put(value, everywhere)
        return placed
    value = np.asarray(value)
    return jax.make_array_from_callback(value.shape, everywhere, lambda index: value[index])


class Stepper:
    """Takes training steps. All images are on the devices, so a step only gets the rows of its batch.

    Weights and images are replicated and each batch is split over the devices (JAX's sharding), over fewer of them if
    it cannot be split evenly. Statistics are those of the whole batch, so the loss does not depend on the number of
    devices. Every process must take every step. Raises TrainingError as `count_devices`.
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
        processes = range(jax.process_count())
        each = count_devices(batch, len(processes), jax.local_device_count())
        devices = [device for process in processes for device in jax.local_devices(process)[:each]]
        mesh = Mesh(np.array(devices), "batch")
        connect_devices(mesh)
        everywhere, split = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("batch"))
        self._images = replicate(images, everywhere)
        self._base = jax.random.wrap_key_data(replicate(jax.random.key_data(jax.random.key(recipe.seed)), everywhere))
        self._everywhere, self._batch = everywhere, batch

        def loss_of(params: Params, clean: Array, key: Array) -> tuple[Array, Terms]:
            return loss(graph, nnx.merge_state(params, stats), clean, key, recipe.objective, recipe.distortion)

        # No buffer donation: it gains nothing on a CPU, and the checkpoint still reads the old state.
        @jax.jit(out_shardings=everywhere)
        def step(
            state: TrainState,
            images: UInt8[Array, "n h w c"],
            rows: Int[Array, " batch"],
            base: Key[Array, ""],
            number: Int[Array, ""],
            rate: Float[Array, ""],
        ) -> tuple[TrainState, Terms]:
            clean = jax.lax.with_sharding_constraint(images[rows].astype(jnp.float32) / 255, split)
            key = jax.random.fold_in(base, number)
            (total, terms), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.params, clean, key)
            updates, optimiser_state = optimiser.update(gradient, state.optimiser, state.params)
            params = optax.apply_updates(state.params, optax.tree.scale(rate, updates))
            return TrainState(params, optimiser_state), {"loss": total, **terms}

        @jax.jit(out_shardings=everywhere)
        def eval_loss(params: Params, images: Array, rows: Array, key: Array) -> Array:
            return loss_of(params, images[rows].astype(jnp.float32) / 255, key)[0]

        self._step, self._eval_loss = step, eval_loss

    def place(self, state: TrainState) -> TrainState:
        """Copy the state to every device."""
        placed: TrainState = jax.tree.map(lambda leaf: replicate(leaf, self._everywhere), state)
        return placed

    def _place_rows(self, rows: Int[np.ndarray, " m"]) -> Int[Array, " m"]:
        return replicate(rows.astype(np.int32), self._everywhere)

    def step(
        self, state: TrainState, rows: Int[np.ndarray, " batch"], number: int, rate: float
    ) -> tuple[TrainState, Terms]:
        """Take a step; returns the new state and the loss terms before they are computed.

        rows: of the batch
        number: of the step, from 0; selects the random key
        rate: learning rate
        """
        numbers = jnp.int32(number), jnp.float32(rate)
        taken: tuple[TrainState, Terms] = self._step(state, self._images, self._place_rows(rows), self._base, *numbers)
        return taken

    def eval_loss(self, state: TrainState, rows: Int[np.ndarray, " k"]) -> float:
        """The mean loss on some rows, with the same random views every time. An incomplete last batch is left out."""
        size = min(self._batch, len(rows))
        batches = [rows[start : start + size] for start in range(0, len(rows) - size + 1, size)]
        keys = jax.random.split(self._base, len(batches))
        losses = [
            float(self._eval_loss(state.params, self._images, self._place_rows(part), key))
            for part, key in zip(batches, keys, strict=True)
        ]
        return sum(losses) / len(losses)
