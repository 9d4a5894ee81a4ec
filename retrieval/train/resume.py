"""Checkpoints of a run in progress, optimiser state included, by Orbax; gone when the run is complete."""

import contextlib
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

from retrieval.errors import TrainingError

if TYPE_CHECKING:
    from retrieval.train.loop import Recipe

SPARE = 64 * 2**20
"""Bytes left free beside a checkpoint, for its own files and everybody else's."""

State = dict[str, Any]
"""`params`, `optimiser` (Optax's state) and `seconds` spent so far."""


def run_name(recipe: "Recipe", images: UInt8[np.ndarray, "n h w c"]) -> str:
    """The same for the same recipe, images and order of images: what may be resumed from."""
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(recipe), sort_keys=True).encode())
    digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()[:16]


def save(folder: Path, step: int, state: State) -> None:
    """Write the state of a step, then drop older ones: the last good one survives whatever happens here.

    Raises TrainingError when the disk refuses.
    """
    arrays = to_arrays(state)
    check_room(folder, arrays)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(folder.absolute() / str(step), arrays)
    except (OSError, ValueError) as error:  # Orbax reports a full disk as a ValueError
        raise TrainingError(
            f"{folder}: the checkpoint of step {step} could not be written: {first_line(error)}"
        ) from error
    for older in saved_steps(folder)[:-1]:
        shutil.rmtree(folder / str(older), ignore_errors=True)


def check_room(folder: Path, arrays: dict[str, Any]) -> None:
    """Raise TrainingError before the disk is full: Orbax takes that badly."""
    folder.mkdir(parents=True, exist_ok=True)
    needed = SPARE + sum(array.nbytes for array in arrays.values())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise TrainingError(
            f"{folder}: {free // 2**20} MB free, but a checkpoint takes up to {needed // 2**20} MB; make room and run"
            " again: training goes on from the last one"
        )


def load(folder: Path, like: State) -> tuple[int, State] | None:
    """The newest saved state and its step, in the shape of `like`; None when there is nothing to resume.

    Raises TrainingError when the checkpoint is damaged.
    """
    steps = saved_steps(folder)
    if not steps:
        return None
    target = to_arrays(like)
    try:
        with ocp.StandardCheckpointer() as checkpointer:
            arrays = checkpointer.restore(folder.absolute() / str(steps[-1]), target)
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(
            f"{folder / str(steps[-1])}: the checkpoint is damaged ({first_line(error)}); delete {folder} to start over"
        ) from error
    leaves = jax.tree.leaves(arrays)
    return steps[-1], jax.tree.unflatten(jax.tree.structure(like), leaves)


def forget(folder: Path) -> None:
    """Remove a run's checkpoints: it is complete. Renamed first: none is ever found half removed."""
    gone = folder.with_suffix(".done")
    shutil.rmtree(gone, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def saved_steps(folder: Path) -> list[int]:
    """Steps whose checkpoint is complete, oldest first: Orbax renames a checkpoint into place when all is written."""
    return sorted(int(entry.name) for entry in folder.glob("*") if entry.name.isdigit())


def to_arrays(state: State) -> dict[str, Any]:
    """The state as a flat dict of arrays: Orbax needs no knowledge of Flax's or Optax's own types."""
    return {f"{number:04}": np.asarray(leaf) for number, leaf in enumerate(jax.tree.leaves(state))}


def first_line(error: Exception) -> str:
    """Orbax's messages go on for pages."""
    return str(error).partition("\n")[0]
