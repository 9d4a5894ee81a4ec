"""Whether a server has Qdrant's own page: a real one with and without it, and servers that answer otherwise."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from retrieval.store.base import dashboard_url
from retrieval.store.edge.engine import EdgeStore
from retrieval.store.qdrant.describe import has_dashboard
from tests.cli.conftest import (
    Call,  # a fixture
)
from tests.cli.conftest import call as call  # a fixture
from tests.ingest.jobs import make_digits, make_model
from tests.store import servers
from tests.store.conftest import clean, connected
from tests.store.faults import Refuse, proxy

PAGE = Refuse(200, {"Content-Type": "text/html; charset=utf-8"}, b"<!doctype html>")


def test_a_server_without_the_pages_has_no_dashboard(qdrant_url: str) -> None:
    with connected(qdrant_url) as store:
        assert dashboard_url(store, "images") is None


def test_a_server_with_the_pages_has_one_and_ingest_prints_its_url(
    qdrant_binary: Path, tmp_path: Path, own_home: Path, call: Call
) -> None:
    del qdrant_binary  # is there
    make_model(own_home)
    digits = make_digits(tmp_path / "digits", 3)
    pages, storage = tmp_path / "pages", tmp_path / "storage"
    pages.mkdir()
    storage.mkdir()
    (pages / "index.html").write_text("<!doctype html><title>Qdrant</title>")
    with servers.running(storage, QDRANT__SERVICE__STATIC_CONTENT_DIR=str(pages)) as url:
        assert f"\nDashboard: {url}/dashboard#/collections/images\n" in call("ingest", digits, "--qdrant-url", url).out
        with connected(url) as store:
            assert dashboard_url(store, "cats") == f"{url}/dashboard#/collections/cats"


def test_ingest_prints_no_url_without_a_page(tmp_path: Path, own_home: Path, qdrant_url: str, call: Call) -> None:
    make_model(own_home)
    digits = make_digits(tmp_path / "digits", 3)
    said = call("ingest", digits, "--qdrant-url", qdrant_url, "--alias", "test-no-dashboard")
    clean(qdrant_url)
    assert said.code == 0
    assert "Dashboard" not in said.out


def test_the_embedded_engine_has_none(tmp_path: Path) -> None:
    with closing(EdgeStore(tmp_path / "embedded")) as store:
        assert dashboard_url(store, "images") is None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (PAGE, True),
        (Refuse(200, {"Content-Type": "application/json"}, b"{}"), False),
        (Refuse(401, {"Content-Type": "text/html"}, b"<!doctype html>"), False),
        (Refuse(503, {"Content-Type": "text/html"}, b"<!doctype html>"), False),
    ],
    ids=["a page", "no page", "401", "503"],
)
def test_what_counts_as_a_page(qdrant_url: str, answer: Refuse, *, expected: bool) -> None:
    with proxy(qdrant_url) as between:
        between.fail("dashboard", answer)
        assert has_dashboard(between.url) is expected


@contextlib.contextmanager
def dripping() -> Iterator[str]:
    """A server that sends an endless header, one byte now and then, until the client hangs up."""
    left = threading.Event()

    def drip(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
                while not left.is_set():
                    connection.sendall(b"x")
                    time.sleep(0.02)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=drip, args=[listener])
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            left.set()
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.timeout(30)
def test_a_slow_server_is_not_waited_for() -> None:
    with dripping() as url:
        assert has_dashboard(url, seconds=0.3) is False


def test_a_server_that_is_down() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert has_dashboard(f"http://127.0.0.1:{port}") is False
