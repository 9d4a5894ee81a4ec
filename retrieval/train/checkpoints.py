"""Checkpoints of a run in progress, optimiser state included, by Orbax; gone when its model is saved."""

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
"""Bytes left free beside a checkpoint, for its own files and everybody else's."""

LogEntry = dict[str, int | float]
"""The metrics of one round."""

OLD_METRICS = {"agreement": "invariance", "spread": "variance", "correlation": "covariance"}
"""Names in the log of a checkpoint written before 0.1.0, and today's. To be dropped in the release after that."""


@dataclass(slots=True)
class RunState:
    """All that a run is: with its recipe and images, it decides the rest.

    seconds: spent so far · best, best_loss, best_step: the weights with the smallest held-out loss · history: a line
    for each round.
    """

    train_state: TrainState
    best: Params
    step: int = 0
    seconds: float = 0.0
    best_loss: float = float("inf")
    best_step: int = 0
    history: list[LogEntry] = field(default_factory=list)


def run_name(recipe: Recipe, images: UInt8[np.ndarray, "n h w c"]) -> str:
    """The same for the same recipe, images and order of images: what may be resumed from."""
    digest = hashlib.sha256(json.dumps(dataclasses.asdict(recipe), sort_keys=True).encode())
    digest.update(np.ascontiguousarray(images).data)
    return digest.hexdigest()[:16]


def save(folder: Path, state: RunState) -> None:
    """Write a run's state, then drop older ones: the last good one survives whatever happens here.

    Raises TrainingError when the disk refuses.
    """
    arrays = to_arrays(state)
    check_disk_space(folder, arrays)
    try:
        log_path(folder, state.step).write_text(json.dumps(state.history))
        run_in_thread(lambda checkpointer: checkpointer.save(folder.absolute() / str(state.step), arrays))
    except (OSError, ValueError) as error:  # Orbax reports a full disk as a ValueError
        raise TrainingError(
            f"checkpoint {folder / str(state.step)} cannot be written: {first_line(error)}",
            hint="fix that and run the same command again: training goes on from the last one",
        ) from error
    for older in saved_steps(folder)[:-1]:
        shutil.rmtree(folder / str(older), ignore_errors=True)
        log_path(folder, older).unlink(missing_ok=True)


def run_in_thread(action: Callable[[ocp.StandardCheckpointer], T]) -> T:
    """Let Orbax work in a thread of its own: in the main one its event loop takes Ctrl-C for itself, and may lose it.

    Ctrl-C then ends the run when Orbax is done. Orbax waits for no other process: only the first one calls it.
    """
    alone = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0})

    def work() -> T:
        with ocp.StandardCheckpointer(multiprocessing_options=alone) as checkpointer:
            return action(checkpointer)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(work).result()


def check_disk_space(folder: Path, arrays: dict[str, Any]) -> None:
    """Raise TrainingError before the disk is full: Orbax takes that badly."""
    folder.mkdir(parents=True, exist_ok=True)
    needed = SPARE + sum(array.nbytes for array in arrays.values())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise TrainingError(
            f"{folder}: {free // 2**20:,} MiB free, but a checkpoint takes up to {needed // 2**20:,} MiB",
            hint="make room and run the same command again: training goes on from the last one",
        )


def restore(folder: Path, like: RunState) -> RunState | None:
    """The newest saved state, in the shape of `like`; None when there is nothing to resume.

    Raises TrainingError when the checkpoint is damaged.
    """
    steps = saved_steps(folder)
    if not steps:
        return None
    newest, target = folder / str(steps[-1]), to_arrays(like)
    try:
        log = json.loads(log_path(folder, steps[-1]).read_text())
        history = [{OLD_METRICS.get(name, name): value for name, value in entry.items()} for entry in log]
        # Told of shapes, Orbax would cut or pad to them and say nothing.
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
    """The first process's state, in every process; when this one is alone, the very same."""
    if jax.process_count() == 1:
        return state
    file = io.BytesIO()
    np.savez(file, step=state.step, history=json.dumps(state.history), **to_arrays(state))
    with np.load(io.BytesIO(broadcast_bytes(file.getvalue()))) as data:
        arrays = dict(data)
    step, history = int(arrays.pop("step")), json.loads(str(arrays.pop("history")))
    return from_arrays(arrays, state, step, history)


def delete(folder: Path) -> None:
    """Remove a run's checkpoints: its model is saved. Renamed first: none is ever found half removed."""
    gone = folder.with_suffix(".done")
    shutil.rmtree(gone, ignore_errors=True)
    with contextlib.suppress(FileNotFoundError):
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def saved_steps(folder: Path) -> list[int]:
    """Steps whose checkpoint is complete, oldest first: Orbax renames a checkpoint into place when all is written."""
    return sorted(int(entry.name) for entry in folder.glob("*") if entry.name.isdigit())


def log_path(folder: Path, step: int) -> Path:
    """Where the lines of the rounds up to a checkpoint lie, beside it."""
    return folder / f"{step}.json"


def to_tree(state: RunState) -> Any:
    """All of the state that Orbax keeps, as a pytree; the history lies beside it."""
    return (
        state.train_state,
        state.best,
        (np.float64(state.seconds), np.float64(state.best_loss), np.int64(state.best_step)),
    )


def to_arrays(state: RunState) -> dict[str, Any]:
    """The state as a flat dict of arrays: Orbax needs no knowledge of Flax's or Optax's own types."""
    return {f"{number:04}": np.asarray(leaf) for number, leaf in enumerate(jax.tree.leaves(to_tree(state)))}


def from_arrays(arrays: dict[str, Any], like: RunState, step: int, history: list[LogEntry]) -> RunState:
    """The state of which `to_arrays` made these arrays, in the shape of `like`."""
    leaves = [arrays[name] for name in sorted(arrays)]
    train_state, best, numbers = jax.tree.unflatten(jax.tree.structure(to_tree(like)), leaves)
    seconds, best_loss, best_step = map(float, numbers)
    return RunState(train_state, best, step, seconds, best_loss, int(best_step), history)


def first_line(error: Exception) -> str:
    """Orbax's messages go on for pages."""
    return str(error).partition("\n")[0]
