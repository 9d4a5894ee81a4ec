"""Lists of operations: drawn by a seed, run again, and shortened as long as they still go wrong."""

import random
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.torture.at_once import Torture
from tests.torture.engines import Embedded, Engine
from tests.torture.operations import Operation, draw
from tests.torture.run import Counts, Wrong

ALWAYS = {"SIGKILL": 6.0, "SIGTERM": 1.0, "SIGINT": 1.0, "unmount": 1.5}


@dataclass
class Place:
    """Where lists are run.

    folder: for the world and the home of one list; emptied before each
    engine: embedded, or a server that runs already
    disk: a disk of our own in memory that holds the folder; None if there is none
    real: whether jobs are the program as it is, with its own processes
    """

    folder: Path
    engine: Engine = field(default_factory=Embedded)
    disk: Path | None = None
    real: bool = False

    @property
    def kinds(self) -> Mapping[str, float]:
        """The kinds of faults, with their weights."""
        disk = {"disk": 0.7} if self.disk and self.engine.survives_full_disk else {}
        process = {"process": 3.0} if self.real else {}
        network = {"network": 2.0, "outage": 1.0} if self.engine.url else {}
        return {**ALWAYS, **disk, **process, **network, **self.engine.faults}

    def begin(self) -> Torture:
        """A new world, and nothing stored."""
        shutil.rmtree(self.folder, ignore_errors=True)
        return Torture(self.folder, self.engine, self.disk, self.real)


def torture(place: Place, operations: Sequence[Operation]) -> tuple[Counts, str | None, int]:
    """Run a list of operations; returns the counts, what is wrong, and how many operations it took."""
    run = place.begin()
    for number, operation in enumerate(operations):
        try:
            run.do(operation)
        except Wrong as wrong:
            return run.counts, str(wrong), number + 1
    return run.counts, None, len(operations)


def invent(place: Place, seed: int, count: int, faults: float) -> tuple[Counts, list[Operation], str | None]:
    """Draw operations by the seed and run each as it is drawn; stops at the first that goes wrong.

    faults: the share of jobs that are struck
    """
    run, rng = place.begin(), random.Random(seed)
    done: list[Operation] = []
    while len(done) < count:
        operation = draw(rng, run.world, faults, place.kinds, server=bool(place.engine.url), real=place.real)
        done.append(operation)
        try:
            run.do(operation)
        except Wrong as wrong:
            return run.counts, done, str(wrong)
    return run.counts, done, None


def shrink(place: Place, operations: list[Operation], seconds: float = 300.0) -> list[Operation]:
    """A shorter list that still goes wrong: leave out halves, quarters and so on, while it helps and time is left."""
    best, size, end = operations, max(1, len(operations) // 2), time.monotonic() + seconds
    while size:
        start = 0
        while start < len(best) - 1:
            if time.monotonic() > end:
                return best
            shorter = best[:start] + best[start + size :]
            _, wrong, length = torture(place, shorter)
            if wrong:
                best = shorter[:length]
            else:
                start += size
        size //= 2
    return best
