"""The server engine alone: URLs, keys, and collections that are not ours."""

import socket
import warnings
from pathlib import Path

import pytest
from qdrant_client import QdrantClient, models

from retrieval.config import load_settings
from retrieval.errors import NotOurs, StoreError, StoreUnavailable, UsageError
from retrieval.store import open_store
from retrieval.store.edge.engine import EdgeStore
from retrieval.store.qdrant.server import ServerStore
from tests.errors import raises
from tests.store import servers
from tests.store.conftest import SHORT, clean, codes, connected, meta, points

KEY = "the-very-secret-key"


def test_open_store_picks_the_engine(qdrant_url: str, monkeypatch: pytest.MonkeyPatch, own_home: Path) -> None:
    with open_store(load_settings()) as store:
        assert (store.engine, store.location) == ("embedded", str(own_home / "embedded"))
        assert isinstance(store, EdgeStore)
    monkeypatch.setenv("QDRANT_URL", qdrant_url)
    monkeypatch.setenv("QDRANT_API_KEY", KEY)  # a server without a key ignores it
    with open_store(load_settings()) as store:
        assert (store.engine, store.location) == ("server", qdrant_url)
        store.check()


@pytest.mark.parametrize(
    "url", ["qdrant:6333", "ftp://host", "http://", "http://host:port", "http://host:99999", "http://host?key=1", "x"]
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with raises(UsageError, "QDRANT_URL", "http://host:6333"):
        ServerStore(url)


def test_a_password_in_the_url_is_refused_and_not_repeated() -> None:
    with raises(UsageError, "QDRANT_URL", "password", hint="QDRANT_API_KEY") as refusal:
        ServerStore(f"https://user:{KEY}@host:6333")
    assert KEY not in str(refusal.value)


@pytest.mark.parametrize("who", ["user:@", ":secret@", "user@"])
def test_half_a_password_in_the_url_is_refused_too(who: str) -> None:
    with raises(UsageError, "QDRANT_URL", "password", hint="QDRANT_API_KEY"):
        ServerStore(f"https://{who}host:6333")


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("http://localhost", "http://localhost:6333"),
        ("http://localhost:7", "http://localhost:7"),
        ("https://qdrant.example.org/behind/a/proxy/", "https://qdrant.example.org:6333/behind/a/proxy"),
        ("http://[::1]:6334/", "http://[::1]:6334"),
    ],
)
def test_where_a_url_leads(url: str, location: str) -> None:
    with connected(url) as store:
        assert store.location == location


@pytest.mark.parametrize("url", ["http://host:6333#part", "https://host:6333/?key=1"])
def test_a_url_with_a_query_or_fragment_is_refused(url: str) -> None:
    with raises(UsageError, "QDRANT_URL", "http://host:6333"):
        ServerStore(url)


def test_a_closed_store_closes_its_connections(qdrant_url: str) -> None:
    with connected(qdrant_url) as store:
        store.check()
    with raises(StoreError, "closed"):
        store.collections()


@pytest.mark.parametrize("host", ["qdrant.example.org", "192.168.1.7", "localhost.example.org", "[2001:db8::1]"])
def test_a_key_over_plain_http_to_another_host_is_refused(host: str) -> None:
    with raises(UsageError, "QDRANT_API_KEY", f"http://{host}:6333", hint="https") as refusal:
        ServerStore(f"http://{host}:6333", KEY)
    assert KEY not in str(refusal.value)
    ServerStore(f"http://{host}:6333").close()
    ServerStore(f"https://{host}:6333", KEY).close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "[::1]"])
def test_a_key_over_plain_http_on_this_machine_is_fine(host: str) -> None:
    with warnings.catch_warnings(action="error"):
        ServerStore(f"http://{host}", KEY).close()


def test_a_server_that_is_down_is_named() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        down = raises(StoreUnavailable, url, "refused", hint="scripts/qdrant start")
        with connected(url, time_limits=SHORT) as store, down as failure:
            store.check()
    assert "QDRANT_URL" in failure.value.hint


def test_a_proxy_in_the_environment_never_sees_plain_http(qdrant_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with connected(qdrant_url, time_limits=SHORT) as store:
        store.check()


def test_keys(qdrant_binary: Path, tmp_path: Path) -> None:
    keys = {"QDRANT__SERVICE__API_KEY": KEY, "QDRANT__SERVICE__READ_ONLY_API_KEY": "only-reads"}
    with servers.running(tmp_path / "own", **keys) as url:
        with connected(url, KEY) as store:
            store.create_collection("a", meta())
            store.upsert("a", points(codes(3)))
        for wrong in (None, "wrong-key"):
            with connected(url, wrong) as store, raises(StoreError, url, 401, hint="QDRANT_API_KEY") as refusal:
                store.check()
            assert "wrong-key" not in str(refusal.value)
        with connected(url, "only-reads") as store:
            assert len(store.query("a", codes(1), 5)[0]) == 3
            with raises(StoreError, url, "QDRANT_API_KEY", 403, hint="") as refusal:
                store.upsert("a", points(codes(1)))
            assert "only-reads" not in str(refusal.value)


def test_a_collection_that_another_job_made_at_the_same_moment(
    qdrant_url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(qdrant_url) as store:
        store.create_collection(name, meta())
        monkeypatch.setattr("retrieval.store.qdrant.catalog.check_new", lambda store, collection: None)
        store.create_collection(name, meta())  # as after a time-out
        with raises(StoreError, name):
            store.create_collection(name, meta(model="00000000"))
    clean(qdrant_url)


def test_a_collection_made_by_something_else(qdrant_url: str, name: str) -> None:
    client = QdrantClient(url=qdrant_url)
    client.create_collection(name, models.VectorParams(size=8, distance=models.Distance.COSINE))
    client.close()
    with connected(qdrant_url) as store:
        for use in (store.metadata, lambda c: store.query(c, codes(1), 5), lambda c: store.upsert(c, [])):
            with raises(NotOurs, name, hint=""):
                use(name)
    clean(qdrant_url)
