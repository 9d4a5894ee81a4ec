"""What people notice of a node that dies or hangs: nothing, or one slow answer; of two: a sentence."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import stamina

from retrieval.errors import StoreUnavailable
from retrieval.images.decode import decode
from retrieval.ingest.job import ingest
from retrieval.ingest.options import IngestOptions
from retrieval.ingest.summary import IngestSummary
from retrieval.schema.image_shape import ImageShape
from retrieval.schema.records import Point, point_id
from retrieval.sources.folder import Folder
from retrieval.store import open_store
from retrieval.store.base import Store, resolve
from retrieval.store.qdrant.connection import FAIL_FAST, TimeLimits
from retrieval.store.qdrant.server import ServerStore
from retrieval.web.errors import ENGINE_DOWN
from retrieval.web.limits import Limits
from tests.cli.conftest import Call, run
from tests.cluster.nodes import Cluster
from tests.errors import mentions, raises
from tests.ingest.jobs import make_digits, make_model
from tests.reindex.conftest import OLD
from tests.reindex.encoders import SIDE
from tests.reindex.places import PICTURES, Place, make_pictures
from tests.web.serving import serving, settings_of, until

MANY = 3000
THREADS = 3
GREY = np.array([[0.5, 0, 0, 0]], np.float32)
"""A code of `OLD`."""


@dataclass
class Searches:
    """What searches for stored points came to."""

    requests: list[int] = field(default_factory=list)
    """That each of them took."""
    wrong: list[object] = field(default_factory=list)


@contextmanager
def searching(url: str, collection: str, known: list[Point]) -> Iterator[Searches]:
    """Search for the known points in threads while the block runs."""
    found, over, own = Searches(), threading.Event(), threading.local()

    def count(request: httpx.Request, send: Callable[[httpx.Request], httpx.Response]) -> httpx.Response:
        own.requests += 1
        return send(request)

    def hit(store: ServerStore, point: Point) -> None:
        assert point.code is not None
        own.requests = 0
        try:
            hits = store.query(collection, point.code[None], 5)[0]
        except Exception as error:  # noqa: BLE001 - reported where the searches end
            found.wrong.append(error)
            return
        found.requests.append(own.requests)
        if len(hits) != 5 or hits[0].id != point.id:
            found.wrong.append(hits)

    def search(store: ServerStore, number: int) -> None:
        while not over.is_set():
            hit(store, known[number % len(known)])
            number += THREADS

    with closing(ServerStore(url)) as store, ThreadPoolExecutor(THREADS) as pool:
        store._client.http.client.add_middleware(count)
        hit(store, known[0])  # which asks for version and dimension as well
        found.requests.clear()
        done = [pool.submit(search, store, number) for number in range(THREADS)]
        try:
            yield found
        finally:
            over.set()
        for each in done:
            each.result()


@pytest.mark.long
def test_killing_the_node_in_use_loses_no_search_and_no_picture(
    cluster: Cluster, own_home: Path, tmp_path: Path
) -> None:
    root = make_pictures(tmp_path / "pictures")
    place = Place(own_home, cluster.url, "killed")
    live = place.ingest(root, OLD)
    with place.opened() as store:
        known = [point for page in store.scroll(live, codes=True) for point in page]
    make_pictures(root, MANY)
    killer = threading.Thread(target=cluster.kill, args=(0,))

    def kill_halfway(summary: IngestSummary) -> None:
        if summary.encoded > MANY / 2 and not killer.ident:
            killer.start()

    try:
        with searching(cluster.url, live, known) as searches, place.opened() as store:
            source = Folder("pictures", root, labels=True)
            ledgers, options = place.settings.refused, IngestOptions(batch=100)
            done = ingest(store, OLD, [source], place.alias, options, ledgers=ledgers, report=kill_halfway)
            killer.join()
            before = len(searches.requests)
            until(lambda: len(searches.requests) > before + 100)
    finally:
        cluster.start()

    assert (done.encoded, done.unchanged, done.failed) == (MANY - PICTURES, PICTURES, 0)
    assert searches.wrong == []
    assert set(searches.requests) == {1, 2}, "the node that was in use did not answer, the next one did"
    assert searches.requests.count(2) <= THREADS

    files = sorted(root.rglob("*.png"))
    pixels = np.stack([decode(file.read_bytes(), file.name, ImageShape(SIDE, SIDE, 1)).pixels for file in files])
    points = sorted(cluster.same(live).values(), key=lambda point: str(point["payload"]["path"]))
    assert [point["payload"]["path"] for point in points] == [file.relative_to(root).as_posix() for file in files]
    np.testing.assert_allclose([point["vector"] for point in points], OLD.encode(pixels), atol=1e-6)


@contextmanager
def deadlines(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Seconds that each call to a server gets with all its tries, of the calls that begin in the block."""
    given: list[float] = []
    honest = stamina.retry_context

    def note(**options: Any) -> Any:
        given.append(options["timeout"])
        return honest(**options)

    with monkeypatch.context() as patch:
        patch.setattr(stamina, "retry_context", note)
        yield given


def allowances(store: Store) -> list[float]:
    """Seconds that each of the store's requests may take; the list grows with each of them."""
    found: list[float] = []

    def note(request: httpx.Request, send: Callable[[httpx.Request], httpx.Response]) -> httpx.Response:
        try:
            return send(request)
        finally:
            found.append(request.extensions["timeout"]["read"])

    assert isinstance(store, ServerStore)
    store._client.http.client.add_middleware(note)
    return found


@pytest.mark.long
@pytest.mark.usefixtures("xla_cache")
def test_two_dead_nodes_are_said_in_a_sentence_and_forgotten_once_they_are_back(
    cluster: Cluster, own_home: Path, tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_model(own_home)
    root = make_digits(tmp_path / "digits", 60)
    digit = next(root.rglob("*.png"))
    monkeypatch.setenv("QDRANT_URL", cluster.url)
    assert call("ingest", root, "--json").object["encoded"] == 60
    expected = {point_id("digits", file.relative_to(root).as_posix()) for file in root.rglob("*.png")}
    settings = settings_of(own_home, cluster.url)
    every = ", ".join(cluster.urls)
    with (
        open_store(settings, fail_fast=True) as store,
        serving(settings, Limits(rate=0)) as service,
        ThreadPoolExecutor(2) as pool,
    ):
        service.ready()
        live = resolve(store, "images")
        code = np.ones((1, 16), np.float32)
        assert len(store.query(live, code, 5)[0]) == 5
        upload = {"image": digit.read_bytes()}
        with cluster.without(0, 1):
            commands = [
                pool.submit(run, *command, home=own_home, env={"QDRANT_URL": cluster.url})
                for command in (("search", digit), ("status", "--json"))
            ]
            with deadlines(monkeypatch) as given, raises(StoreUnavailable, every, hint="QDRANT_URL"):
                store.query(live, code, 5)
            assert set(given) == {FAIL_FAST.query_deadline}
            answer = service.client.post("/api/search", files=upload)
            assert answer.status_code == 503
            assert answer.json()["error"] == ENGINE_DOWN
            assert service.client.get("/healthz").status_code == 503
            assert service.client.get("/api/status").json()["state"] == "engine-down"
            search, status = (command.result() for command in commands)  # `run` gives them less time than a job waits
            search.error(1, every, "QDRANT_URL")
            assert len(search.err.splitlines()) == 1
            told = status.object  # by the one node that lives
            assert (status.code, told["collection"], told["points"]) == (0, live, None)
            assert mentions(told["unknown"], every)
        until(lambda: service.client.get("/healthz").status_code == 200)
        assert service.client.post("/api/search", files=upload).status_code == 200
        assert len(store.query(live, code, 5)[0]) == 5
    assert cluster.same(live).keys() == expected, "the ids are those of every engine"


@pytest.mark.long
def test_a_node_that_hangs_costs_a_search_or_two_their_time_out_and_no_write(
    cluster: Cluster, own_home: Path, tmp_path: Path
) -> None:
    root = make_pictures(tmp_path / "pictures")
    place = Place(own_home, cluster.url, "hanging")
    live = place.ingest(root, OLD)
    with place.opened() as reader, place.opened() as writer, ThreadPoolExecutor(1) as pool:
        known = list(reader.retrieve(live, [hit.id for hit in reader.query(live, GREY, 5)[0]], codes=True).values())
        assert writer.count(live) == PICTURES

        searched, written = allowances(reader), allowances(writer)

        def search() -> int:
            """How many requests it took."""
            before = len(searched)
            assert len(reader.query(live, GREY, 5)[0]) == 5
            return len(searched) - before

        with cluster.hanging(0):
            end = time.monotonic() + 20
            seen = [replace(point, payload={**point.payload, "label": "seen"}) for point in known]
            writing = pool.submit(writer.upsert, live, seen)
            slow = [requests for requests in (search() for _ in range(50)) if requests > 1]
            assert slow
            assert max(slow) <= len(cluster.urls), "each node once"
            assert len(slow) <= 3, "a node that is asked next may itself ask the hanging one for a part"
            writing.result()
            time.sleep(max(0, end - time.monotonic()))
        assert search() == 1
    limits = TimeLimits()
    assert max(searched) == limits.query_deadline / len(cluster.urls)
    assert max(written) == limits.elsewhere
    assert len(written) <= len(cluster.urls)
    points = cluster.same(live)
    assert len(points) == PICTURES
    assert {id_ for id_, point in points.items() if point["payload"]["label"] == "seen"} == {p.id for p in known}
