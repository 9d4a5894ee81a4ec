"""`scripts/qdrant` as a user meets it."""

import socket
import urllib.request
from pathlib import Path

import pytest

from tests.store.servers import qdrant, running


def test_start_twice_is_one_server_and_stop_stops_it(qdrant_binary: Path, tmp_path: Path) -> None:
    folder = tmp_path / "server"
    with running(folder) as url:
        again = qdrant("start", "--dir", str(folder))
        assert (again.returncode, again.stdout) == (0, f"{url}\n")
        with urllib.request.urlopen(f"{url}/collections", timeout=5) as answer:
            assert answer.status == 200
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{url}/collections", timeout=5)
    stopped = qdrant("stop", "--dir", str(folder))
    assert (stopped.returncode, stopped.stdout) == (0, "")
    assert str(tmp_path) in stopped.stderr
    assert (folder / "qdrant.log").stat().st_size > 0


def test_what_was_written_is_there_after_a_restart(qdrant_binary: Path, tmp_path: Path) -> None:
    with running(tmp_path) as url:
        body = b'{"vectors": {"size": 4, "distance": "Euclid"}}'
        request = urllib.request.Request(
            f"{url}/collections/kept", body, {"Content-Type": "application/json"}, method="PUT"
        )
        urllib.request.urlopen(request, timeout=30).close()
    with running(tmp_path) as url, urllib.request.urlopen(f"{url}/collections/kept", timeout=5) as answer:
        assert answer.status == 200


def test_a_port_that_is_taken_is_reported(qdrant_binary: Path, tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        failed = qdrant("start", "--dir", str(tmp_path), "--http-port", str(other.getsockname()[1]))
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "Address already in use" in failed.stderr
    assert str(tmp_path / "qdrant.log") in failed.stderr
    assert str(tmp_path) in qdrant("stop", "--dir", str(tmp_path)).stderr


def test_the_key_it_was_started_with_is_needed_to_find_it(qdrant_binary: Path, tmp_path: Path) -> None:
    with running(tmp_path, QDRANT__SERVICE__API_KEY="a-secret") as url:
        refused = qdrant("start", "--dir", str(tmp_path))
        assert refused.returncode == 1
        assert "key" in refused.stderr
        assert qdrant("start", "--dir", str(tmp_path), QDRANT__SERVICE__API_KEY="a-secret").stdout == f"{url}\n"


def test_a_binary_that_is_given_is_used_and_must_exist(tmp_path: Path) -> None:
    assert qdrant("path", QDRANT_BIN="/bin/sh").stdout == "/bin/sh\n"
    missing = qdrant("path", QDRANT_BIN=str(tmp_path / "none"))
    assert missing.returncode == 1
    assert f"QDRANT_BIN={tmp_path / 'none'}" in missing.stderr


def test_a_wrong_binary_in_the_cache_is_not_used_and_both_sources_are_named(tmp_path: Path) -> None:
    cached = tmp_path / "retrieval" / "qdrant-1.16.3" / "qdrant"
    cached.parent.mkdir(parents=True)
    cached.write_text("#!/bin/sh\n")
    nowhere = {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "no_proxy": "", "PATH": ""}
    failed = qdrant("path", XDG_CACHE_HOME=str(tmp_path), QDRANT_BIN="", **nowhere)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "official release: " in failed.stderr
    assert "npm" in failed.stderr
    assert "QDRANT_BIN" in failed.stderr.splitlines()[-1]
    assert sorted(f.name for f in cached.parent.iterdir()) == ["lock", "qdrant"]
