"""Time limits hold for whole calls, not for each read: servers that send one byte now and then are given up."""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from retrieval.errors import BadImage, SourceError, StoreUnavailable
from retrieval.sources import download, filesystem
from retrieval.sources.filesystem import UrlPath
from retrieval.sources.remote import RemoteFolder
from retrieval.util.deadline import enforce_time_limits, limit_time
from tests.drip import BYTES, EVERY, WAYS, Answer, Drip, dripping
from tests.errors import raises
from tests.store.conftest import SHORT, codes, connected, points

HEALTHCHECK = Path(__file__).parents[2] / "infra" / "healthcheck"
HELLO = json.dumps({"title": "qdrant", "version": "1.16.3"}).encode()
SPACE = {
    "result": {
        "status": "green",
        "optimizer_status": "ok",
        "segments_count": 1,
        "config": {
            "params": {"vectors": {"size": 8, "distance": "Euclid"}},
            "hnsw_config": {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000},
            "optimizer_config": {
                "deleted_threshold": 0.2,
                "vacuum_min_vector_number": 1000,
                "default_segment_number": 0,
                "flush_interval_sec": 5,
            },
            "metadata": {"model": "m", "dim": 8, "image_size": [8, 8], "channels": 1, "created": "2026-01-01"},
        },
        "payload_schema": {},
    },
    "status": "ok",
    "time": 0.0,
}
ways = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)


def given_up(server: Drip) -> bool:
    """Whether the client hung up before the end of an answer."""
    end = time.monotonic() + 10
    while not server.given_up and time.monotonic() < end:
        time.sleep(EVERY)  # it notices with the next byte but one
    return bool(server.given_up) and not server.heard


@ways
def test_a_first_answer_that_drips(way: Answer) -> None:
    with dripping(way) as server, connected(server.url, time_limits=SHORT) as store:
        with raises(StoreUnavailable, server.url, hint="QDRANT_URL"):
            store.aliases()
        assert given_up(server)


@ways
@pytest.mark.parametrize("use", ["search", "write", "list", "describe"])
def test_an_answer_that_drips_in_the_middle_of_the_work(way: Answer, use: str) -> None:
    quick = {"/": HELLO, "/collections/a": json.dumps(SPACE).encode()}
    with dripping(way, quick) as server, connected(server.url, time_limits=SHORT) as store:
        calls: dict[str, Callable[[], object]] = {
            "search": lambda: store.query("a", codes(1), 1),
            "write": lambda: store.upsert("a", points(codes(3))),
            "list": lambda: list(store.scroll("a")),
            "describe": lambda: store.health("a"),
        }
        with raises(StoreUnavailable, server.url, hint="QDRANT_URL"):
            calls[use]()
        assert given_up(server)


@ways
def test_nodes_that_drip_are_each_given_up(way: Answer) -> None:
    with dripping(way) as one, dripping(way) as other:
        with (
            connected(f"{one.url},{other.url}", time_limits=SHORT) as store,
            raises(StoreUnavailable, one.url, other.url, hint="QDRANT_URL"),
        ):
            store.aliases()
        assert given_up(one)
        assert given_up(other)


@ways
def test_a_mirror_that_drips(way: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TOTAL_SECONDS", 1.0)
    with dripping(way) as mirror:
        with raises(SourceError, "127.0.0.1", "1 s"):
            download.download([f"{mirror.url}/file.gz"], tmp_path / "file.gz", "0" * 32)
        assert given_up(mirror)


@ways
def test_an_image_by_url_that_drips(way: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filesystem, "SECONDS", 1.0)
    with dripping(way) as server:
        folder = RemoteFolder("far", UrlPath(f"{server.url}/pictures"))
        with raises(BadImage, "1 s"):
            folder.read("a.png")
        assert not server.heard


@ways
def test_a_health_check_ends_by_itself(way: Answer) -> None:
    with dripping(way) as server:
        done = subprocess.run(
            ["bash", str(HEALTHCHECK), "1"],
            env={**os.environ, "QDRANT__SERVICE__HTTP_PORT": server.url.rpartition(":")[2]},
            capture_output=True,
            timeout=BYTES * EVERY / 2,
            check=False,
        )
        assert done.returncode == 124, done.stderr
        assert given_up(server)


def test_answers_within_the_limit_are_read_to_the_end() -> None:
    with dripping(WAYS[1], {"/quick": b"{}"}) as server, enforce_time_limits(httpx.Client(trust_env=False)) as client:
        with limit_time(30):
            assert client.get(f"{server.url}/quick").json() == {}
        with limit_time(0.5), pytest.raises(httpx.TimeoutException):
            client.get(f"{server.url}/slow")
        assert client.get(f"{server.url}/quick").json() == {}, "a deadline ends with its block"
        with client.stream("GET", f"{server.url}/slow") as answer:
            assert next(answer.iter_raw()), "and what is in no block is not bounded"
    assert BYTES * EVERY > 30
