"""The loop: an epoch's order of rows, one compiled step after another, and a look after each round.

Everything random follows from the seed and the step's number, so a run that was interrupted and resumed ends with
the same weights as one that was not.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jaxtyping import UInt8

from retrieval.errors import TrainingError
from retrieval.model.autoencoder import Params, build
from retrieval.train import checkpoints
from retrieval.train.checkpoints import LogEntry, RunState
from retrieval.train.diagnostics import PATIENCE, check_data, diagnose, recompute_batch_stats, split_held_out
from retrieval.train.distributed import check_same_run, is_primary, leave
from retrieval.train.objective import Terms
from retrieval.train.optimiser import learning_rate, make_optimiser
from retrieval.train.recipe import Recipe, recipe_warnings
from retrieval.train.step import Stepper, TrainState
from retrieval.train.whitening import MOST_IMAGES, whiten

ROUND_STEPS = 100
"""Steps between two looks at the held-out images, each with a line of the log and a checkpoint."""
REPORT_STEPS = 10
EXAMINED = 4
"""Batches from which the norm layers' statistics are taken at the end, and by which the model is examined."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: `done` is the share of it, in [0,1]; `images_per_second` since it was started or resumed."""

    step: int
    done: float
    loss: float
    images_per_second: float
    resumed: bool


@dataclass(frozen=True, slots=True)
class TrainResult:
    """Weights, their numbers, a line for each round, and what the user should be told.

    stopped_early: the weights are then those with the smallest held-out loss ·
    checkpoints: the run's, to `forget` once the model is safe; None when it kept none.
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
    """Train on images in [0,255]; takes up where an interrupted run of the same recipe and data stopped.

    `log` gets a line for each round, those of before an interruption first. The last checkpoint is left in
    `checkpoints` for as long as the model is not saved. Of several processes (`joined`) each calls this with the same
    images and recipe, without a time budget; only the first reads and writes checkpoints, and all part after the loop.

    Raises TrainingError for fewer than 32 images, for images that are all alike, for a loss that is not finite, for a
    code that has collapsed, for a damaged checkpoint, and when no checkpoint can be written; of several processes also
    when they have other images or recipes, or cannot share a batch evenly.
    """
    check_data(images)
    learned, held = split_held_out(len(images), recipe.seed)
    batch = min(recipe.batch, len(learned))
    per_epoch = len(learned) // batch
    pace = RunClock(recipe.epochs and recipe.epochs * per_epoch, recipe.budget)
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

    def order_of(epoch: int) -> jax.Array:
        return stepper.order(np.random.default_rng([recipe.seed, epoch]).permutation(learned))

    def tell() -> None:
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
    order = order_of(state.step // per_epoch)
    stepper.step(state.train_state, order, state.step, 0.0)  # compiled here, so that the first step counts as a step
    if len(held):
        stepper.eval_loss(state.train_state, held)
    pace.begin()
    while (share := pace.done(state.step)) < 1 and not is_stalled(state):
        if state.step % per_epoch == 0:
            order = order_of(state.step // per_epoch)
        if terms:
            terms[-1]["loss"].block_until_ready()  # two steps under way at most: a budget ends on time
        state.train_state, found = stepper.step(state.train_state, order, state.step, learning_rate(share))
        terms.append(found)
        state.step += 1
        if state.step % REPORT_STEPS == 0:
            tell()
        if state.step % ROUND_STEPS == 0:
            close_round()
            if folder:
                checkpoints.save(folder, state)
    if terms:
        tell()
        close_round()
    early = is_stalled(state)
    params = jax.device_get(state.best if early else state.train_state.params)
    leave()
    shuffled = np.random.default_rng([recipe.seed]).permutation(learned)
    sample = images[np.sort(shuffled[: EXAMINED * batch])]
    whole = recompute_batch_stats(graph, nnx.merge_state(params, stats), sample)
    how = None if recipe.objective == "reconstruction" else recipe.distortion
    whole = whiten(graph, whole, images[shuffled[:MOST_IMAGES]], recipe.seed, how, batch)
    health = diagnose(graph, whole, sample)  # now, since the decoder wants centred codes
    warnings = [*recipe_warnings(recipe, batch), *health.check(state.step)]
    step = state.best_step if early else state.step
    numbers = next(line for line in state.history if line["step"] == step)
    numbers = {"epochs": step / per_epoch, **numbers, "seconds": state.seconds, **health.numbers()}
    return TrainResult(whole, numbers, state.history, warnings, early, folder)


def is_stalled(state: RunState) -> bool:
    """Whether to stop early: the held-out loss has not improved for PATIENCE rounds."""
    return state.best_step > 0 and state.step >= state.best_step + PATIENCE * ROUND_STEPS


def wait_for_loss(terms: Terms, step: int) -> float:
    """The loss, waited for; raises TrainingError when it is not finite."""
    value = float(terms["loss"])
    if not np.isfinite(value):
        raise TrainingError(
            f"the loss is {value} at step {step}; nothing was saved",
            hint="try another --seed or --objective denoising, and look at the images with --preview",
        )
    return value


def mean_terms(terms: Sequence[Terms]) -> LogEntry:
    """Each term's mean over some steps."""
    return {name: float(np.mean([t[name] for t in terms])) for name in terms[0]}


@dataclass(slots=True)
class RunClock:
    """A run's clock.

    last: steps in all, None for no limit · budget: seconds in all, None for no limit · spent: seconds of the run
    before this process took it up · setup: seconds of this process before its first step, which teach nothing.
    """

    last: int | None
    budget: float | None
    spent: float = 0.0
    started: float = field(default_factory=time.monotonic)
    setup: float = 0.0

    def begin(self) -> None:
        """All is compiled; raises TrainingError when that alone has taken the budget."""
        self.setup = time.monotonic() - self.started
        if self.budget and not self.spent and self.setup >= self.budget:
            raise TrainingError(
                f"a time budget of {self.budget:g} s, but {self.setup:.1f} s went by before the first step",
                hint="give more",
            )

    @property
    def seconds(self) -> float:
        """Seconds that the run has taken so far, in all processes."""
        return self.spent + time.monotonic() - self.started

    def done(self, step: int) -> float:
        """The share of the run that is done after so many steps, in [0,1]."""
        by_steps = step / self.last if self.last else 0.0
        by_time = (self.seconds - self.setup) / (self.budget - self.setup) if self.budget else 0.0
        return min(1.0, max(by_steps, by_time))

    def speed(self, images: int) -> float:
        """Images a second of this process."""
        return images / max(time.monotonic() - self.started - self.setup, 1e-9)
