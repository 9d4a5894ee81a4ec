"""kill -9, Ctrl-C and SIGTERM at any moment: what was stored is kept, and the next run does the rest.

One run's successor is the next one's victim: as many moments in half the time.
"""

import os
import random
import signal
import time
from pathlib import Path

from retrieval.schema.records import Point
from tests.cli.conftest import Call, Done, finished
from tests.cli.test_interrupted import heed_ctrl_c  # noqa: F401 - a fixture
from tests.ingest.conftest import DIGITS
from tests.ingest.jobs import Place, is_locked, nobody_is_left, same_points, until

BATCH = 64
WINDOW = 3 * BATCH
"""Maximum number of images in flight: being written, ready to be written, being encoded."""
LAST = 1600
"""Images encoded at the last kill, at most; the rest allows for the time until the signal arrives."""


def moments(count: int = 10, seed: int = 4) -> list[tuple[int, float]]:
    """Number of encoded images, and seconds after that, at which to kill, spread over the run."""
    rng = random.Random(seed)
    return [(int(LAST * (n + rng.random()) / count) if n else 0, rng.uniform(0, 0.05)) for n in range(count)]


def test_killed_and_run_again(place: Place, digits: Path, uninterrupted: dict[str, Point], call: Call) -> None:
    kills, in_the_middle = moments(), 0
    for images, seconds in kills:
        stored, encoded = max(0, place.stored), place.encoded
        killed = f"killed {seconds:.3f} s after image {images}"

        def reached(images: int = images) -> bool:
            return place.stored >= images and is_locked(place)

        with place.started(digits, "--batch-size", BATCH) as process:
            until(reached, process)
            time.sleep(seconds)
            process.kill()
            code = finished(process).code
            nobody_is_left(process)
        if place.stored == DIGITS:
            break  # on a busy machine it was done before the signal came
        assert code == -signal.SIGKILL, f"{killed}: it was to be killed in the middle"
        assert stored <= place.stored, f"{killed}: what was acknowledged stays"
        in_the_middle += 1
        assert place.encoded - encoded <= place.stored - stored + WINDOW, f"{killed}: so many were encoded for nothing"
        found = place.points()
        assert len(found) == place.stored, killed
        same_points(found, {id_: uninterrupted[id_] for id_ in found})
    assert in_the_middle >= len(kills) // 2
    acknowledged = place.stored
    said = call("ingest", digits, "--json", *place.options()).object
    assert said["unchanged"] + said["encoded"] == DIGITS
    assert acknowledged <= said["unchanged"]
    assert place.encoded - said["unchanged"] <= len(kills) * WINDOW, "so many were encoded twice"
    same_points(place.points(), uninterrupted)


def test_stopped_politely_and_run_again(
    place: Place, digits: Path, uninterrupted: dict[str, Point], call: Call
) -> None:
    early = stopped(place, digits, signal.SIGINT, 0)  # where it makes the collection
    assert (early.code, early.err.splitlines()[-1]) == (130, "interrupted: run the same command again to resume")
    later = stopped(place, digits, signal.SIGINT, DIGITS // 3)
    assert later.code == 130
    counted, hint = later.err.splitlines()
    assert counted.startswith(f"stored so far: {place.stored:,} of ")
    assert hint == "interrupted: run the same command again to resume"
    last = stopped(place, digits, signal.SIGTERM, DIGITS // 3)
    assert last.code == 143
    assert last.err.startswith(f"stored so far: {place.stored:,} of ")
    done = call("ingest", digits, "--json", *place.options()).object
    assert done["unchanged"] + done["encoded"] == DIGITS
    assert place.encoded - done["unchanged"] <= 3 * WINDOW
    assert place.collections() == [done["collection"]]
    same_points(place.points(), uninterrupted)


def stopped(place: Place, digits: Path, how: signal.Signals, images: int) -> Done:
    """Stop a run that has encoded so many; the signal goes to its workers too, as from a terminal.

    Whole batches are stored, and the lock is free.
    """
    before = place.encoded
    with place.started(digits, "--batch-size", BATCH) as process:
        until(lambda: place.encoded >= before + images if images else is_locked(place), process)
        os.killpg(process.pid, how)
        done = finished(process)
        nobody_is_left(process)
    assert "Traceback" not in done.err
    assert done.out == ""
    assert place.stored % BATCH == 0 or place.stored < 0
    assert place.stored < DIGITS
    assert not is_locked(place)
    return done
