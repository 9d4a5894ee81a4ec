"""The server engine alone: URLs, keys, and collections that are not ours."""

import base64
import hmac
import http.server
import json
import shutil
import socket
import ssl
import subprocess
import threading
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from qdrant_client import QdrantClient, models

from retrieval.config import load_settings
from retrieval.errors import NoCollection, NotOurs, StoreError, StoreUnavailable, UsageError
from retrieval.store import open_store
from retrieval.store.base import resolve
from retrieval.store.edge.engine import EdgeStore
from retrieval.store.qdrant.server import ServerStore
from tests.conftest import need
from tests.errors import raises
from tests.store import servers
from tests.store.conftest import SHORT, clean, codes, connected, meta, points

KEY = "the-very-secret-key"


def sign(access: object) -> str:
    """A token (JWT) with this access, signed with the key as Qdrant wants it."""
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
        for part in ({"alg": "HS256", "typ": "JWT"}, {"access": access})
    ]
    signature = hmac.digest(KEY.encode(), b".".join(parts), "sha256")
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


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


@pytest.fixture
def signed_by_itself(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The URL of a server that greets as Qdrant does, and its certificate, which nobody else signed."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-addext"]
    new += ["subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    need(shutil.which("openssl") is not None, "openssl")
    subprocess.run(new, check=True, capture_output=True)

    class Greet(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"title": "qdrant", "version": "1.16.3", "result": {"aliases": []}}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Greet) as server:
        trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trusted.load_cert_chain(certificate, key)
        server.socket = trusted.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"https://localhost:{server.server_port}", certificate
        server.shutdown()
        thread.join()


def test_certificates(signed_by_itself: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    url, certificate = signed_by_itself
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with connected(url) as store, raises(StoreUnavailable, url, "not trusted", hint="SSL_CERT_FILE"):
        store.aliases()
    for wrong in (tmp_path / "missing.pem", tmp_path / "key.pem"):
        monkeypatch.setenv("SSL_CERT_FILE", str(wrong))
        with raises(UsageError, f"SSL_CERT_FILE={wrong}", hint="PEM"):
            ServerStore(url)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with connected(url) as store:
        assert store.aliases() == {}


def test_keys(qdrant_binary: Path, tmp_path: Path) -> None:
    keys = {
        "QDRANT__SERVICE__API_KEY": KEY,
        "QDRANT__SERVICE__READ_ONLY_API_KEY": "only-reads",
        "QDRANT__SERVICE__JWT_RBAC": "true",
    }
    with servers.running(tmp_path / "own", **keys) as url:
        with connected(url, KEY) as store:
            store.create_collection("a", meta())
            store.upsert("a", points(codes(3)))
            store.create_collection("b", meta())
            store.move_alias("images", "a")
        for wrong in (None, "wrong-key"):
            with connected(url, wrong) as store, raises(StoreError, url, 401, hint="QDRANT_API_KEY") as refusal:
                store.check()
            assert "wrong-key" not in str(refusal.value)
        for reader in (
            "only-reads",
            sign("r"),
            sign([{"collection": name, "access": "r"} for name in ("images", "a")]),
        ):
            with connected(url, reader) as store:
                assert len(store.query(resolve(store, "images"), codes(1), 5)[0]) == 3
                with raises(StoreError, url, "QDRANT_API_KEY", 403, hint="") as refusal:
                    store.upsert("a", points(codes(1)))
                assert reader not in str(refusal.value)
        refused = raises(StoreError, url, "QDRANT_API_KEY", 403, hint="")
        with connected(url, sign([{"collection": "a", "access": "r"}])) as store, refused:
            store.count("b")
        only_alias = connected(url, sign([{"collection": "images", "access": "r"}]))  # it cannot tell what that names
        with only_alias as store, raises(NoCollection, "images"):
            resolve(store, "images")


def test_certificates_are_read_only_where_something_is_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *which, **named: read.append((which, named)))
    ServerStore("http://127.0.0.1:1").close()
    assert not read
    ServerStore("http://127.0.0.1:1,https://localhost:2").close()
    assert read


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


def test_a_snapshot_restores_points_and_metadata(qdrant_url: str, name: str) -> None:
    with connected(qdrant_url) as store, closing(QdrantClient(url=qdrant_url, timeout=60)) as client:
        store.create_collection(name, meta())
        store.upsert(name, points(codes(20)))
        before = store.query(name, codes(1), 5)
        snapshot = client.create_snapshot(name, wait=True)
        assert snapshot
        made = f"{qdrant_url}/collections/{name}/snapshots/{snapshot.name}"
        store.upsert(name, points(codes(30)))
        client.recover_snapshot(name, made, priority=models.SnapshotPriority.SNAPSHOT, wait=True)
        assert (store.metadata(name), store.count(name)) == (meta(), 20)
        assert store.query(name, codes(1), 5) == before
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
