"""The options of a training run."""

from dataclasses import dataclass

from retrieval.errors import UsageError
from retrieval.model.config import MAX_SIDE, MIN_SIDE, TRUNK_STRIDE
from retrieval.train.types import Hosts, Objective, Preset, TrunkChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """The options of `retrieval train`. None: chosen from the data, by `choose_shape` and `default_recipe`.

    objective: the training loss
    preset: size of the network and length of the training
    dim: dimension of the embedding
    image_size: (height, width) in pixels
    channels: 1 (grey) or 3 (colour)
    epochs: passes over the images
    budget: seconds of training; with epochs, whichever ends first
    seed: of all random choices
    hosts: None to train in this process alone
    trunk: what the model sees; auto: photos for photographs, unless an option is given that only pixels have
    Raises UsageError for an image size or number of channels out of range, for a budget together with hosts, and for
    options that a trunk leaves no choice of.
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
    trunk: TrunkChoice = "auto"

    def __post_init__(self) -> None:
        if self.image_size and not MIN_SIDE <= min(self.image_size) <= max(self.image_size) <= MAX_SIDE:
            height, width = self.image_size
            raise UsageError(
                f"each side must be between {MIN_SIDE} and {MAX_SIDE} pixels, not {height}x{width}", option="image_size"
            )
        if self.channels not in (None, 1, 3):
            raise UsageError(f"must be 1 (grey) or 3 (colour), not {self.channels}", option="channels")
        if self.trunk == "photos":
            self._check_trunk()
        if self.hosts and self.budget:
            raise UsageError(
                "several processes must all take the same number of steps, which a time limit cannot ensure",
                option="time_budget",
                hint="give a number of epochs instead",
            )

    @property
    def of_pixels(self) -> list[str]:
        """The options given that only a model of pixels has."""
        given = {
            "preset": self.preset is not None,
            "objective": self.objective != "invariant",
            "channels": self.channels == 1,
            "coordinator": self.hosts is not None,
        }
        return [name for name, is_given in given.items() if is_given]

    def _check_trunk(self) -> None:
        if self.of_pixels:
            raise UsageError(
                f"does not apply to a model with --trunk {self.trunk}",
                option=self.of_pixels[0],
                hint="leave one of them out",
            )
        if self.image_size and any(side % TRUNK_STRIDE for side in self.image_size):
            height, width = self.image_size
            raise UsageError(
                f"with --trunk {self.trunk} each side must be a multiple of {TRUNK_STRIDE}, not {height}x{width}",
                option="image_size",
            )
