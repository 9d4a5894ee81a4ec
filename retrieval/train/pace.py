"""How far a run is: by steps, by time, or by whichever is further."""

import time
from dataclasses import dataclass, field

from retrieval.errors import TrainingError


@dataclass(slots=True)
class Pace:
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
