"""The training loop: shuffle each epoch, take compiled steps, and log, evaluate and checkpoint after each round.

All randomness is derived from the seed and the step's number, so a run that was interrupted and resumed ends with the
same weights as one that was not.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jaxtyping import Int, UInt8

from retrieval.errors import TrainingError
from retrieval.model.autoencoder import Params, build
from retrieval.train import checkpoints
from retrieval.train.checkpoints import LogEntry, RunState
from retrieval.train.diagnostics import PATIENCE, check_data, measure, recompute_batch_stats, split_held_out
from retrieval.train.distributed import check_same_run, is_primary, leave
from retrieval.train.objective import Terms
from retrieval.train.optimiser import learning_rate, make_optimiser
from retrieval.train.recipe import Recipe, recipe_warnings
from retrieval.train.step import Stepper, TrainState
from retrieval.train.whitening import MOST_IMAGES, whiten

ROUND_STEPS = 100
"""Steps in a round. Each round ends with the held-out loss, an entry of the log and a checkpoint."""
REPORT_STEPS = 10
EXAMINED = 4
"""Number of batches from which the batch statistics are recomputed after training, and diagnostics measured."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a run.

    step: number of steps done
    done: share of the run that is done, in [0, 1]
    loss: of the last step; None while features are computed
    images_per_second: since the run was started or resumed
    resumed: the run was resumed from a checkpoint
    compiling: nothing else happens until the next report
    """

    step: int
    done: float
    loss: float | None
    images_per_second: float
    resumed: bool
    compiling: bool = False


COMPILING = Progress(0, 0.0, None, 0.0, resumed=False, compiling=True)


@dataclass(frozen=True, slots=True)
class TrainResult:
    """A trained network.

    params: weights and batch statistics
    metrics: of the round whose weights these are, and of the finished model
    history: the metrics of each round
    warnings: for the user
    stopped_early: the held-out loss stopped improving; the weights are those with the smallest
    checkpoints: the run's folder, to `delete` once the model is saved; None if it has none
    """

    params: Params
    metrics: LogEntry
    history: list[LogEntry]
    warnings: list[str]
    stopped_early: bool
    checkpoints: Path | None


def train(
    images: UInt8[np.ndarray, "n h w c"],
    recipe: Recipe,
    checkpoint_folder: Path | None = None,
    report: Callable[[Progress], None] = lambda progress: None,
    log: Callable[[LogEntry], None] = lambda line: None,
) -> TrainResult:
    """Train on images in [0, 255]; resumes an interrupted run of the same recipe and images.

    In a `process_group` each process calls this with the same images and recipe, without a time budget. Only process 0
    reads and writes checkpoints, and the group is shut down after the loop.

    images: u8[n, h, w, c]
    checkpoint_folder: where runs keep their checkpoints; None: this run writes none
    report: called with COMPILING, then every REPORT_STEPS steps
    log: called with the metrics of each round, those from before an interruption first
    Raises TrainingError for fewer than 32 images, for images that are all the same, when the loss is not finite or the
    embedding collapses, and when a checkpoint is damaged or cannot be written. In a process group also when processes
    have different images or recipes, or cannot split a batch evenly.
    """
    check_data(images)
    learned, held = split_held_out(len(images), recipe.seed)
    batch = min(recipe.batch, len(learned))
    pace = RunClock(recipe.epochs and math.ceil(recipe.epochs * len(learned) / batch), recipe.budget)
    graph, whole = build(recipe.model, recipe.seed)
    params, stats = nnx.split_state(whole, nnx.Param, nnx.BatchStat)
    optimiser = make_optimiser(params)
    state = RunState(TrainState(params, optimiser.init(params)), params)
    name = checkpoints.run_name(recipe, images)
    check_same_run(name)
    folder = checkpoint_folder / name if checkpoint_folder and is_primary() else None
    if folder:
        state = checkpoints.restore(folder, state) or state
    state = checkpoints.broadcast(state)
    stepper = Stepper(graph, stats, optimiser, recipe, images, batch)
    state.train_state = stepper.place(state.train_state)
    resumed_at, pace.spent = state.step, state.seconds
    for line in state.history:
        log(line)

    batch_rows = BatchRows(learned, batch, recipe.seed)

    def report_progress() -> None:
        speed = pace.speed((state.step - resumed_at) * batch)
        report(Progress(state.step, pace.done(state.step), wait_for_loss(terms[-1], state.step), speed, resumed_at > 0))

    def close_round() -> None:
        line = {"step": state.step, "seconds": round(pace.seconds, 2), **mean_terms(terms)}
        if len(held):
            line["held_out"] = stepper.eval_loss(state.train_state, held)
            if line["held_out"] < state.best_loss:
                state.best, state.best_loss, state.best_step = state.train_state.params, line["held_out"], state.step
        terms.clear()
        state.history.append(line)
        state.seconds = pace.seconds
        log(line)

    terms: list[Terms] = []
    report(COMPILING)
    stepper.step(
        state.train_state, batch_rows(state.step), state.step, 0.0
    )  # compiled here, so that the first step counts as a step
    if len(held):
        stepper.eval_loss(state.train_state, held)
    pace.begin()
    while (share := pace.done(state.step)) < 1 and not is_stalled(state):
        rows = batch_rows(state.step)
        if terms:
            terms[-1]["loss"].block_until_ready()  # at most two steps in flight, so that a budget is kept
        state.train_state, found = stepper.step(state.train_state, rows, state.step, learning_rate(share))
        terms.append(found)
        state.step += 1
        if state.step % REPORT_STEPS == 0:
            report_progress()
        if state.step % ROUND_STEPS == 0:
            close_round()
            if folder:
                checkpoints.save(folder, state)
    if terms:
        report_progress()
        close_round()
    early = is_stalled(state)
    params = jax.device_get(state.best if early else state.train_state.params)
    leave()
    shuffled = np.random.default_rng([recipe.seed]).permutation(learned)
    sample = images[np.sort(shuffled[: EXAMINED * batch])]
    whole = recompute_batch_stats(graph, nnx.merge_state(params, stats), sample)
    how = None if recipe.objective == "reconstruction" else recipe.distortion
    whole = whiten(graph, whole, images[shuffled[:MOST_IMAGES]], recipe.seed, how, batch)
    diagnostics = measure(graph, whole, sample)  # now, because the decoder expects centred embeddings
    warnings = [*recipe_warnings(recipe, batch), *diagnostics.check(state.step)]
    step = state.best_step if early else state.step
    numbers = next(line for line in state.history if line["step"] == step)
    epochs = min(round(step * batch / len(learned), 2), recipe.epochs or math.inf)
    numbers = {"epochs": epochs, **numbers, "seconds": state.seconds, **diagnostics.numbers()}
    return TrainResult(whole, numbers, state.history, warnings, early, folder)


class BatchRows:
    """The rows of each step's batch: one random permutation after another, so that an epoch uses every image.

    A batch may take the end of one epoch and the start of the next.

    learned: the rows to train on
    batch: rows per batch, at most as many
    seed: of the permutations
    """

    def __init__(self, learned: Int[np.ndarray, " m"], batch: int, seed: int) -> None:
        self._learned, self._batch, self._seed = learned, batch, seed
        self._order: tuple[int, Int[np.ndarray, " m"]] = 0, self._permute(0)

    def _permute(self, epoch: int) -> Int[np.ndarray, " m"]:
        return np.random.default_rng([self._seed, epoch]).permutation(self._learned)

    def __call__(self, step: int) -> Int[np.ndarray, " batch"]:
        """The rows of the batch of a step, from 0."""
        epoch, start = divmod(step * self._batch, len(self._learned))
        if epoch != self._order[0]:
            self._order = epoch, self._permute(epoch)
        rows = self._order[1][start : start + self._batch]
        if len(rows) < self._batch:
            rows = np.concatenate([rows, self._permute(epoch + 1)[: self._batch - len(rows)]])
        return rows


def is_stalled(state: RunState) -> bool:
    """Whether the held-out loss has not improved for PATIENCE rounds."""
    return state.best_step > 0 and state.step >= state.best_step + PATIENCE * ROUND_STEPS


def wait_for_loss(terms: Terms, step: int) -> float:
    """Wait for a step's loss; raises TrainingError when it is not finite."""
    value = float(terms["loss"])
    if not np.isfinite(value):
        raise TrainingError(
            f"the loss is {value} at step {step}; nothing was saved",
            hint="try another --seed or --objective denoising, and check the views with --preview",
        )
    return value


def mean_terms(terms: Sequence[Terms]) -> LogEntry:
    """The mean of each loss term over some steps."""
    return {name: float(np.mean([t[name] for t in terms])) for name in terms[0]}


@dataclass(slots=True)
class RunClock:
    """Measures how much of a run is done, by steps or by time.

    last: total number of steps; None: no limit
    budget: total duration in seconds; None: no limit
    spent: seconds of the run before this process resumed it
    started: when this process started, by `time.monotonic`
    setup: seconds of this process before its first step, mostly compilation
    """

    last: int | None
    budget: float | None
    spent: float = 0.0
    started: float = field(default_factory=time.monotonic)
    setup: float = 0.0

    def begin(self) -> None:
        """Mark the first step; raises TrainingError when the setup alone has used up the budget."""
        self.setup = time.monotonic() - self.started
        if self.budget and not self.spent and self.setup >= self.budget:
            raise TrainingError(
                f"the time budget is {self.budget:g} s, but the setup before the first step took {self.setup:.1f} s",
                hint="give a larger budget",
            )

    @property
    def seconds(self) -> float:
        """Duration of the run so far in seconds, including the time before it was resumed."""
        return self.spent + time.monotonic() - self.started

    def done(self, step: int) -> float:
        """The share of the run that is done after this many steps, in [0, 1]."""
        by_steps = step / self.last if self.last else 0.0
        by_time = (self.seconds - self.setup) / (self.budget - self.setup) if self.budget else 0.0
        return min(1.0, max(by_steps, by_time))

    def speed(self, images: int) -> float:
        """Images per second, given the number of images since this process took its first step."""
        return images / max(time.monotonic() - self.started - self.setup, 1e-9)
