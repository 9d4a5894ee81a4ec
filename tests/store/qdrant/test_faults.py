"""What the server engine retries, when it gives up, and its errors."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval.errors import StoreError, StoreUnavailable
from tests.errors import raises
from tests.store import servers
from tests.store.conftest import SHORT, clean, codes, connected, meta, points
from tests.store.faults import LOSE, RESET, Proxy, Refuse, proxy


@pytest.fixture
def faulty(qdrant_url: str) -> Iterator[Proxy]:
    """The shared real server behind a proxy that fails on demand."""
    with proxy(qdrant_url) as between:
        yield between
    clean(qdrant_url)


@pytest.mark.timeout(60)  # one request without a limit takes longer
def test_a_server_that_hangs_is_given_up_and_found_again(qdrant_binary: Path, tmp_path: Path) -> None:
    with servers.running(tmp_path) as url, connected(url) as patient, connected(url, time_limits=SHORT) as store:
        patient.create_collection("a", meta())
        store.check()
        os.kill(servers.pid(tmp_path), signal.SIGSTOP)
        try:
            for use in (lambda: store.query("a", codes(1), 5), lambda: store.upsert("a", points(codes(1)))):
                with raises(StoreUnavailable, url, hint="QDRANT_URL"):
                    use()
        finally:
            os.kill(servers.pid(tmp_path), signal.SIGCONT)
        patient.upsert("a", points(codes(1)))
        assert patient.count("a") == 1


def test_passing_trouble_is_retried(faulty: Proxy, name: str) -> None:
    with connected(faulty.url) as store:
        store.create_collection(name, meta())
        passing = (Refuse(503), Refuse(500), Refuse(408), Refuse(429), Refuse(429, {"Retry-After": "0"}), LOSE, RESET)
        faulty.fail("/points", *passing)
        store.upsert(name, points(codes(3)))
        assert faulty.seen.count(f"PUT /collections/{name}/points") == 1 + len(passing)
        faulty.fail("/query/batch", Refuse(502), LOSE)
        assert len(store.query(name, codes(1), 5)[0]) == 3
        assert store.count(name) == 3


def test_a_pause_that_the_server_asks_for_is_kept(faulty: Proxy, name: str) -> None:
    with connected(faulty.url) as store:
        store.create_collection(name, meta())
        faulty.fail("/points", Refuse(429, {"Retry-After": "2"}))
        began = time.monotonic()
        store.upsert(name, points(codes(3)))
        assert time.monotonic() - began >= 2
        assert faulty.seen.count(f"PUT /collections/{name}/points") == 2


def test_lost_answers_to_whole_collection_calls_do_no_harm(faulty: Proxy, name: str) -> None:
    with connected(faulty.url) as store:
        for collection in (f"{name}-a", f"{name}-b"):
            faulty.fail(collection, LOSE)
            store.create_collection(collection, meta())
            faulty.fail("/aliases", Refuse(503), LOSE)
            store.move_alias(f"{name}-alias", collection)
            assert store.aliases()[f"{name}-alias"] == collection
        assert store.metadata(f"{name}-b") == meta()
        faulty.fail(f"{name}-a", LOSE)
        store.drop_collection(f"{name}-a")
        assert f"{name}-a" not in store.collections()


def test_every_alias_move_is_one_call(faulty: Proxy, name: str) -> None:
    with connected(faulty.url) as store:
        for collection in (f"{name}-a", f"{name}-b"):
            store.create_collection(collection, meta())
            faulty.fail("")
            store.move_alias(f"{name}-alias", collection)
            assert faulty.seen.count("POST /collections/aliases") == 1


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422])
def test_errors_in_our_requests_are_not_retried(faulty: Proxy, name: str, status: int) -> None:
    with connected(faulty.url) as store:
        store.create_collection(name, meta())
        faulty.fail("/count", *[Refuse(status, body=b'{"status": {"error": "Because."}}')] * 5)
        with raises(StoreError, faulty.url, status):
            store.count(name)
        assert faulty.seen == [f"POST /collections/{name}/points/count"]


def test_it_asks_for_the_servers_version_once(faulty: Proxy) -> None:
    with connected(faulty.url) as store:
        faulty.fail("")
        for _ in range(2):
            store.aliases()
        assert faulty.seen == ["GET /", "GET /aliases", "GET /aliases"]


@pytest.mark.parametrize(
    ("version", "apart"), [("1.16.0", False), ("1.18.4", False), ("1.30.1-dev", True), ("2.17.0", True), ("10.1", True)]
)
def test_a_server_that_is_new_enough(
    version: str, apart: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "1.17.1")
    with proxy("") as stub, connected(stub.url) as store:
        hello = {"title": "qdrant", "version": version}
        none = {"result": {"aliases": []}, "status": "ok", "time": 0}
        stub.fail("", *[Refuse(200, body=json.dumps(answer).encode()) for answer in (hello, none, none)])
        assert store.aliases() == store.aliases() == {}
    assert caplog.text.count(f"runs Qdrant {version}, more than one minor version away") == apart


@pytest.mark.parametrize("seconds", ["3600", "Wed, 21 Oct 2026 07:28:00 GMT"])
def test_too_long_a_pause_is_not_waited_for(faulty: Proxy, name: str, seconds: str) -> None:
    with connected(faulty.url, time_limits=SHORT) as store:
        store.check()
        faulty.fail("/collections", *[Refuse(429, {"Retry-After": seconds})] * 100)
        with raises(StoreUnavailable, faulty.url, hint="QDRANT_URL"):
            store.collections()


def test_lasting_trouble_ends_at_the_deadline(faulty: Proxy) -> None:
    with connected(faulty.url, time_limits=SHORT) as store:
        faulty.fail("", *[Refuse(503)] * 1000)
        with raises(StoreUnavailable, faulty.url, "Service Unavailable", hint="QDRANT_URL"):
            store.collections()
        assert len(faulty.seen) > 1


@pytest.mark.parametrize(
    ("answer", "named", "hint"),
    [
        (Refuse(200, body=b"<html>Hello</html>"), ["as Qdrant"], "QDRANT_URL"),
        (Refuse(200, body=b'{"it": "is"}'), ["as Qdrant"], "QDRANT_URL"),
        (Refuse(301, {"Location": "http://127.0.0.1:1/"}), ["as Qdrant"], "QDRANT_URL"),
        (Refuse(404, body=b"<html>no</html>"), ["Not Found", 404], None),
        (Refuse(499), ["as Qdrant", "HTTP 499"], "QDRANT_URL"),
        (Refuse(418), ["as Qdrant"], "QDRANT_URL"),
        (Refuse(200, body=b'{"title": "qdrant", "version": "1.15.4"}'), ["Qdrant 1.15.4", "1.16"], ""),
        (Refuse(200, body=b'{"title": "qdrant", "version": "dev"}'), ["Qdrant dev", "1.16"], ""),
    ],
)
def test_something_that_is_not_a_fitting_qdrant(answer: Refuse, named: list[object], hint: str | None) -> None:
    with proxy("") as stub, connected(stub.url) as store:
        stub.fail("", answer)
        with raises(StoreError, stub.url, *named, hint=hint):
            store.check()
