"""Two ingests at once on one alias: one works, the other names it, and afterwards all images are stored."""

import os
import signal
from pathlib import Path

import pytest

from retrieval.schema.records import Point
from tests.cli.conftest import Call, finished
from tests.ingest.conftest import DIGITS
from tests.ingest.jobs import Place, is_locked, same_points, until

BATCH = 64


def test_the_second_names_the_first(place: Place, digits: Path, uninterrupted: dict[str, Point], call: Call) -> None:
    with place.started(digits, "--batch-size", BATCH, "--json") as first:
        until(lambda: place.stored > 0, first)
        os.kill(first.pid, signal.SIGSTOP)
        try:
            before = place.stored
            error = call("ingest", digits, *place.options()).error(4)
            assert f"ingest {digits}" in error
            assert f"pid {first.pid}" in error
            assert before <= place.stored <= before + BATCH < DIGITS, "one write may have been on its way"
        finally:
            os.kill(first.pid, signal.SIGCONT)
        done = finished(first)
    assert done.code == 0, done.err
    assert done.object["encoded"] == DIGITS
    assert not is_locked(place)
    same_points(place.points(), uninterrupted)


@pytest.mark.parametrize("place", ["server"], indirect=True)
def test_both_start_at_the_same_moment(place: Place, digits: Path, uninterrupted: dict[str, Point]) -> None:
    with place.started(digits, "--json") as one, place.started(digits, "--json") as other:
        done = [finished(one), finished(other)]
    codes = sorted(each.code for each in done)
    assert codes in ([0, 4], [0, 0]), done  # the second may come when the first has finished
    assert sum(each.object["encoded"] for each in done if each.code == 0) == DIGITS
    assert not is_locked(place)
    same_points(place.points(), uninterrupted)
