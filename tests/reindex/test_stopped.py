"""A re-index that is stopped at its gate for longer than its lock lasts, while others go on."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from retrieval.errors import Locked
from retrieval.reindex.job import reindex
from retrieval.store.base import resolve
from tests.cli.conftest import SECONDS, environment
from tests.errors import mentions
from tests.ingest.jobs import until
from tests.processes import ROOT, Process
from tests.reindex.conftest import NEW, OLD
from tests.reindex.places import PICTURES, Place, make_pictures

CHILD = """
import os, signal, sys
from retrieval.errors import RetrievalError
from retrieval.reindex.job import reindex
from retrieval.store.qdrant import lock
from tests.reindex import encoders
from tests.reindex.places import Place
home, url, alias, step = sys.argv[1:]
lock.LEASE_SECONDS, lock.AFTER_SECONDS = 6.0, 3.0
place = Place(home, url, alias)

def stop(name, outcome):
    if name == step:
        os.kill(os.getpid(), signal.SIGSTOP)

with place.opened() as store:
    try:
        reindex(store, alias, lambda sources: encoders.Shades(2), place.settings, step=stop)
    except RetrievalError as error:
        print(f"{type(error).__name__} {error.exit_code}: {error}")
    else:
        print("swapped")
"""
CAPTIONS = 20


@contextmanager
def stopped(place: Place, step: str) -> Iterator[Process]:
    """A re-index that has stopped itself at the start of the step."""
    arguments = place.home, place.url or "", place.alias, step
    with Process(CHILD, *arguments, environment=environment(Path(place.home)), folder=ROOT) as process:
        try:
            until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, process)
            yield process
        finally:
            process.kill()


def until_taken(work: object) -> None:
    """Call it as soon as the stopped job's lock has expired."""
    assert callable(work)
    end = time.monotonic() + SECONDS
    while True:
        try:
            work()
        except Locked:
            assert time.monotonic() < end
            time.sleep(0.2)
        else:
            return


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("place", ["server"], indirect=True)
@pytest.mark.parametrize("step", ["gate", "swap"])
def test_it_finds_out_and_nothing_is_lost(place: Place, root: Path, step: str) -> None:
    with place.opened() as store:
        live = resolve(store, place.alias)
    with stopped(place, step) as process:
        make_pictures(root, PICTURES + 1)
        until_taken(lambda: place.ingest(root, OLD))
        with place.opened() as store, store.lock(place.alias):
            some = next(store.scroll(live, page=CAPTIONS))
            store.set_payload(live, {p.id: {**p.payload, "caption": f"of {p.payload['path']}"} for p in some})
        process.send_signal(signal.SIGCONT)
        said, _ = process.communicate(timeout=SECONDS)
    assert said.startswith("Locked 4: "), said
    assert [part for part in (f"alias '{place.alias}'", "taken over", "ended") if not mentions(said, part)] == []
    with place.opened() as store:
        assert resolve(store, place.alias) == live
        assert store.count(live) == PICTURES + 1
        captioned = [point for page in store.scroll(live) for point in page if "caption" in point.payload]
        assert len(captioned) == CAPTIONS
        assert reindex(store, place.alias, lambda sources: NEW, place.settings).state == "swapped"
        place.answers(store, root, [NEW])
