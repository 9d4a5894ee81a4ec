"""A server that dies, hangs or returns errors in the middle of a run: the run continues by itself."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from retrieval.ingest.job import ingest
from retrieval.ingest.options import IngestOptions
from retrieval.ingest.summary import IngestSummary
from retrieval.schema.records import Point
from retrieval.sources.folder import Folder
from retrieval.store.qdrant.connection import TimeLimits
from tests.cli.conftest import copy, finished
from tests.ingest.conftest import ALIAS, DIGITS, Quadrants, by_path
from tests.ingest.jobs import Place, same_points, until
from tests.processes import Process
from tests.store import servers
from tests.store.conftest import connected
from tests.store.faults import LOSE, PASS, RESET, Refuse, proxy

BATCH = 64


@pytest.fixture
def server(qdrant_binary: Path, tmp_path: Path) -> Iterator[Path]:
    """The folder of this test's own server."""
    folder = tmp_path / "server"
    with servers.running(folder):
        yield folder


@pytest.fixture
def there(server: Path, model_home: Path, own_home: Path) -> Place:
    """A copy of the home with the model, and that server."""
    return Place(copy(model_home, own_home), servers.url(server), ALIAS)


def goes_on(process: Process, place: Place, expected: dict[str, Point]) -> None:
    """The run succeeds, and has encoded each image once."""
    done = finished(process)
    assert done.code == 0, done.err
    assert done.object["encoded"] == DIGITS == place.encoded
    same_points(place.points(), expected)


def test_killed_and_started_again(server: Path, there: Place, digits: Path, uninterrupted: dict[str, Point]) -> None:
    port = there.url and there.url.rpartition(":")[2]
    with there.started(digits, "--batch-size", BATCH, "--json") as process:
        until(lambda: there.stored >= DIGITS // 3, process)
        os.kill(servers.pid(server), signal.SIGKILL)
        again = servers.qdrant("start", "--dir", str(server), "--http-port", str(port))
        assert again.stdout.strip() == there.url, again.stderr
        goes_on(process, there, uninterrupted)


@pytest.mark.long
def test_stopped_for_half_a_minute(server: Path, there: Place, digits: Path, uninterrupted: dict[str, Point]) -> None:
    with there.started(digits, "--batch-size", BATCH, "--json") as process:
        until(lambda: there.stored >= DIGITS // 3, process)
        os.kill(servers.pid(server), signal.SIGSTOP)
        try:
            time.sleep(30)
            assert process.poll() is None, "it was to be stopped in the middle"
        finally:
            os.kill(servers.pid(server), signal.SIGCONT)
        goes_on(process, there, uninterrupted)


@pytest.fixture
def retries() -> Iterator[list[RetryDetails]]:
    """Requests that are retried while the test runs."""
    seen: list[RetryDetails] = []

    def note(details: RetryDetails) -> None:
        seen.append(details)

    set_on_retry_hooks([note])
    yield seen
    set_on_retry_hooks(None)


def test_stopped_for_longer_than_a_request_may_take(
    server: Path, root: Path, tmp_path: Path, retries: list[RetryDetails]
) -> None:
    """A repeated request is executed as often as it was sent, once the server continues, which does no harm."""

    def stop(summary: IngestSummary) -> None:
        if summary.done == 10:
            os.kill(servers.pid(server), signal.SIGSTOP)
            threading.Timer(2, os.kill, (servers.pid(server), signal.SIGCONT)).start()

    sources, time_limits = [Folder("root", root)], TimeLimits(job=0.5, job_deadline=60)
    with connected(servers.url(server), time_limits=time_limits) as store:
        summary = ingest(store, Quadrants(), sources, ALIAS, IngestOptions(batch=10), ledgers=tmp_path, report=stop)
        assert len(retries) > 1
        assert summary.encoded == 30
        assert len(by_path(store)) == store.count(summary.collection or "") == 30


@pytest.mark.parametrize("place", ["server"], indirect=True)
def test_trouble_on_the_way(place: Place, digits: Path, uninterrupted: dict[str, Point]) -> None:
    """Every fourth request is refused, reset, or loses its answer."""
    rng = random.Random(0)
    passing = (Refuse(503), Refuse(500), Refuse(429), Refuse(429, {"Retry-After": "0"}), RESET, LOSE)
    with proxy(place.url or "") as between:
        between.fail("", *[rng.choice(passing) if rng.random() < 1 / 4 else PASS for _ in range(1000)])
        with place.started(digits, "--batch-size", 2 * BATCH, "--json", url=between.url) as process:
            goes_on(process, place, uninterrupted)
    assert between.faults, "there was no trouble at the end"
