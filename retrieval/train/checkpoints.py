"""Checkpoints of an unfinished run, with the optimiser's state, by Orbax; deleted when the model is saved."""

import contextlib
import dataclasses
import hashlib
import io
import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import UInt8

from retrieval.errors import TrainingError
from retrieval.model.autoencoder import Params
from retrieval.train.distributed import broadcast_bytes
from retrieval.train.recipe import Recipe
from retrieval.train.step import TrainState

T = TypeVar("T")

SPARE = 64 * 2**20
"""Bytes of disk space that must remain free beside a checkpoint's arrays."""

LogEntry = dict[str, int | float]
"""The metrics of one round."""

OLD_METRICS = {"agreement": "invariance", "spread": "variance", "correlation": "covariance"}
"""Names in the log of a checkpoint written before 0.1.0, and today's. To be dropped in the release after that."""


@dataclass(slots=True)
class RunState:
    """The complete state of a run: with the recipe and the images, it determines the rest of the run.

    train_state: weights and optimiser state
    best, best_loss, best_step: the weights with the smallest held-out loss
    step: number of steps done
    seconds: duration so far
    history: the metrics of each round
    """

    train_state: TrainState
    best: Params
    step: int = 0
    seconds: float = 0.0
    best_loss: float = float("inf")
    best_step: int = 0
    history: list[LogEntry] = field(default_factory=list)


def run_name(recipe: Recipe, images: UInt8[np.ndarray, "n h w c"]) -> str:
    """A hash of recipe and images, in order: a run may resume from checkpoints of the same name. 16 hex digits."""
    fields = {**dataclasses.asdict(recipe), "model": recipe.model.to_json()}  # a new option's default changes no name
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()[:16]


def save(folder: Path, state: RunState) -> None:
    """Write a checkpoint, then delete older ones; if it fails, the last complete one remains.

    Raises TrainingError when the disk is full or cannot be written.
    """
    arrays = to_arrays(state)
    check_checkpoint_space(folder, arrays)
    try:
        log_path(folder, state.step).write_text(json.dumps(state.history))
        run_in_thread(lambda checkpointer: checkpointer.save(folder.absolute() / str(state.step), arrays))
    except (OSError, ValueError) as error:  # Orbax reports a full disk as a ValueError
        raise TrainingError(
            f"checkpoint {folder / str(state.step)} cannot be written: {first_line(error)}",
            hint="fix this and run the same command again; training resumes from the last checkpoint",
        ) from error
    for older in saved_steps(folder)[:-1]:
        shutil.rmtree(folder / str(older), ignore_errors=True)
        log_path(folder, older).unlink(missing_ok=True)


def run_in_thread(action: Callable[[ocp.StandardCheckpointer], T]) -> T:
    """Run an Orbax operation in a thread of its own: in the main thread, Orbax's event loop may lose a Ctrl-C.

    Ctrl-C then ends the run when Orbax is done. Orbax does not wait for other processes, because only the primary one
    calls it.
    """
    alone = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0})

    def work() -> T:
        with ocp.StandardCheckpointer(multiprocessing_options=alone) as checkpointer:
            return action(checkpointer)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


def check_checkpoint_space(folder: Path, arrays: dict[str, Any]) -> None:
    """Raise TrainingError when there is too little disk space; Orbax does not handle a full disk well."""
    folder.mkdir(parents=True, exist_ok=True)
    needed = SPARE + sum(array.nbytes for array in arrays.values())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise TrainingError(
            f"{folder}: {free // 2**20:,} MiB free, but a checkpoint takes up to {needed // 2**20:,} MiB",
            hint="free some space and run the same command again; training resumes from the last checkpoint",
        )


def restore(folder: Path, like: RunState) -> RunState | None:
    """The newest checkpoint, in the structure of `like`; None if there is none.

    Raises TrainingError when the checkpoint is damaged or of another network.
    """
    steps = saved_steps(folder)
    if not steps:
        return None
    newest, target = folder / str(steps[-1]), to_arrays(like)
    try:
        log = json.loads(log_path(folder, steps[-1]).read_text())
        history = [{OLD_METRICS.get(name, name): value for name, value in entry.items()} for entry in log]
        # Given shapes, Orbax would silently truncate or pad the arrays.
        arrays = run_in_thread(lambda checkpointer: checkpointer.restore(newest.absolute()))
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(
            f"checkpoint {newest} is damaged: {first_line(error)}",
            hint=f"delete {folder} to start over",
        ) from error
    if {name: array.shape for name, array in arrays.items()} != {name: array.shape for name, array in target.items()}:
        raise TrainingError(f"checkpoint {newest} is of another network", hint=f"delete {folder} to start over")
    return from_arrays(arrays, like, steps[-1], history)


def broadcast(state: RunState) -> RunState:
    """The primary process's state, in every process; the same object if there is only one process."""
    if jax.process_count() == 1:
        return state
    file = io.BytesIO()
    np.savez(file, step=state.step, history=json.dumps(state.history), **to_arrays(state))
    with np.load(io.BytesIO(broadcast_bytes(file.getvalue()))) as data:
        arrays = dict(data)
    step, history = int(arrays.pop("step")), json.loads(str(arrays.pop("history")))
    return from_arrays(arrays, state, step, history)


def delete(folder: Path) -> None:
    """Delete a run's checkpoints. The folder is renamed first, so no run finds it partly deleted."""
    gone = folder.with_suffix(".done")
    shutil.rmtree(gone, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def saved_steps(folder: Path) -> list[int]:
    """Steps of the complete checkpoints, oldest first. Orbax renames a checkpoint when it is complete."""
    return sorted(int(entry.name) for entry in folder.glob("*") if entry.name.isdigit())


def log_path(folder: Path, step: int) -> Path:
    """The file beside a checkpoint that holds the metrics of the rounds up to it."""
    return folder / f"{step}.json"


def to_tree(state: RunState) -> Any:
    """The part of the state that Orbax stores, as a pytree; the history has a file of its own."""
    return (
        state.train_state,
        state.best,
        (np.float64(state.seconds), np.float64(state.best_loss), np.int64(state.best_step)),
    )


def to_arrays(state: RunState) -> dict[str, Any]:
    """The state as a flat dict of arrays, so that Orbax need not know Flax's and Optax's types."""
    return {f"{number:04}": np.asarray(leaf) for number, leaf in enumerate(jax.tree.leaves(to_tree(state)))}


def from_arrays(arrays: dict[str, Any], like: RunState, step: int, history: list[LogEntry]) -> RunState:
    """The inverse of `to_arrays`, in the structure of `like`."""
    leaves = [arrays[name] for name in sorted(arrays)]
    train_state, best, numbers = jax.tree.unflatten(jax.tree.structure(to_tree(like)), leaves)
    seconds, best_loss, best_step = map(float, numbers)
    return RunState(train_state, best, step, seconds, best_loss, int(best_step), history)


def first_line(error: Exception) -> str:
    """The first line of an error's message; Orbax's messages are pages long."""
    return str(error).partition("\n")[0]
