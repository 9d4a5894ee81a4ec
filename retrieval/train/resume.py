"""Checkpoints of a run in progress, optimiser state included, by Orbax; gone when the run is complete."""

import dataclasses
import hashlib
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import UInt8

if TYPE_CHECKING:
    from retrieval.train.loop import Recipe

State = dict[str, Any]
"""`params`, `optimiser` (Optax's state) and `seconds` spent so far."""


def run_name(recipe: "Recipe", images: UInt8[np.ndarray, "n h w c"]) -> str:
    """The same for the same recipe, images and order of images: what may be resumed from."""
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(recipe), sort_keys=True).encode())
    digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()[:16]


def save(folder: Path, step: int, state: State) -> None:
    """Write the state of a step, then drop older ones: the last good one survives whatever happens here."""
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(folder.absolute() / str(step), to_arrays(state))
    for older in saved_steps(folder)[:-1]:
        shutil.rmtree(folder / str(older), ignore_errors=True)


def load(folder: Path, like: State) -> tuple[int, State] | None:
    """The newest saved state and its step, in the shape of `like`; None when there is nothing to resume."""
    steps = saved_steps(folder)
    if not steps:
        return None
    target = to_arrays(like)
    with ocp.StandardCheckpointer() as checkpointer:
        arrays = checkpointer.restore(folder.absolute() / str(steps[-1]), target)
    leaves = jax.tree.leaves(arrays)
    return steps[-1], jax.tree.unflatten(jax.tree.structure(like), leaves)


def forget(folder: Path) -> None:
    """Remove a run's checkpoints: it is complete."""
    shutil.rmtree(folder, ignore_errors=True)


def saved_steps(folder: Path) -> list[int]:
    """Steps whose checkpoint is complete, oldest first: Orbax renames a checkpoint into place when all is written."""
    return sorted(int(entry.name) for entry in folder.glob("*") if entry.name.isdigit())


def to_arrays(state: State) -> dict[str, Any]:
    """The state as a flat dict of arrays: Orbax needs no knowledge of Flax's or Optax's own types."""
    return {f"{number:04}": np.asarray(leaf) for number, leaf in enumerate(jax.tree.leaves(state))}
