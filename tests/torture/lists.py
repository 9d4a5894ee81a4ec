"""Lists of operations: drawn by a seed, run again, and shortened as long as they still go wrong."""

import random
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from tests.torture.operations import Operation, draw
from tests.torture.run import Counts, Torture, Wrong


def torture(
    folder: Path, operations: Sequence[Operation], server: Path | None = None
) -> tuple[Counts, str | None, int]:
    """Run a list of operations; returns the counts, what is wrong, and how many operations it took."""
    shutil.rmtree(folder, ignore_errors=True)
    run = Torture(folder, server)
    for number, operation in enumerate(operations):
        try:
            run.do(operation)
        except Wrong as wrong:
            return run.counts, str(wrong), number + 1
    return run.counts, None, len(operations)


def invent(
    folder: Path, seed: int, count: int, faults: float, server: Path | None = None
) -> tuple[Counts, list[Operation], str | None]:
    """Draw operations by the seed and run each as it is drawn; stops at the first that goes wrong."""
    shutil.rmtree(folder, ignore_errors=True)
    run, rng = Torture(folder, server), random.Random(seed)
    done: list[Operation] = []
    while len(done) < count:
        operation = draw(rng, run.world, faults, server=server is not None)
        done.append(operation)
        try:
            run.do(operation)
        except Wrong as wrong:
            return run.counts, done, str(wrong)
    return run.counts, done, None


def shrink(
    folder: Path, operations: list[Operation], server: Path | None = None, seconds: float = 300.0
) -> list[Operation]:
    """A shorter list that still goes wrong: leave out halves, quarters and so on, while it helps and time is left."""
    best, size, end = operations, max(1, len(operations) // 2), time.monotonic() + seconds
    while size:
        start = 0
        while start < len(best) - 1:
            if time.monotonic() > end:
                return best
            shorter = best[:start] + best[start + size :]
            _, wrong, length = torture(folder, shorter, server)
            if wrong:
                best = shorter[:length]
            else:
                start += size
        size //= 2
    return best
