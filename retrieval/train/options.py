"""What a user may choose about training."""

from dataclasses import dataclass

from retrieval.errors import UsageError
from retrieval.model.config import MAX_SIDE, MIN_SIDE
from retrieval.train.types import Hosts, Objective, Preset


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """None means: from the data, by `choose_size` for the images and `default_recipe` for the rest.

    image_size: (height, width) in pixels · channels: 1 or 3 · dim: numbers in a code · epochs: times each image is
    seen · budget: seconds of training; with both, whichever ends first · hosts: None to train in this process alone.
    Raises UsageError for an image size or a number of channels that no network takes, and for a budget with hosts.
    """

    objective: Objective = "invariant"
    preset: Preset | None = None
    dim: int | None = None
    image_size: tuple[int, int] | None = None
    channels: int | None = None
    epochs: int | None = None
    budget: float | None = None
    seed: int = 0
    hosts: Hosts | None = None

    def __post_init__(self) -> None:
        if self.image_size and not MIN_SIDE <= min(self.image_size) <= max(self.image_size) <= MAX_SIDE:
            height, width = self.image_size
            raise UsageError(
                f"each side must be between {MIN_SIDE} and {MAX_SIDE} pixels, not {height}x{width}", option="image_size"
            )
        if self.channels not in (None, 1, 3):
            raise UsageError(f"must be 1 (grey) or 3 (colour), not {self.channels}", option="channels")
        if self.hosts and self.budget:
            raise UsageError(
                "several processes have a clock each, but must all take the same steps",
                option="time_budget",
                hint="give a number of epochs instead",
            )
