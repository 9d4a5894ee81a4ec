"""`retrieval serve` and `retrieval set-public-url` as a user runs them."""

import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from retrieval.schema.records import point_id
from tests.cli.conftest import Call, Ingested, command, copy, environment, points
from tests.web.serving import until

BASE = "http://127.0.0.1:8000"


KEY = "a-key-of-the-tests"


def test_serve_says_where_answers_what_has_begun_and_ends(ingested: Ingested, own_home: Path, digit: bytes) -> None:
    home = copy(ingested.home, own_home)
    process = subprocess.Popen(
        command("serve", "--port", 0),
        env=environment(home, RETRIEVAL_API_KEY=KEY),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr
        said = process.stderr.readline()
        found = re.fullmatch(r"Serving images at (http://127\.0\.0\.1:\d+) \(Ctrl-C ends\)\n", said)
        assert found
        with httpx.Client(base_url=found[1], timeout=60, trust_env=False) as client:
            until(lambda: client.get("/readyz").status_code == 200)
            assert client.post("/api/search", files={"image": digit}, headers={"X-API-Key": "no"}).status_code == 401

            def slowly() -> Iterator[bytes]:
                yield b'{"id": '
                process.send_signal(signal.SIGTERM)
                time.sleep(0.5)
                yield f'"{point_id("no", "picture")}"}}'.encode()

            told = {"X-API-Key": KEY, "Content-Type": "application/json"}
            assert client.post("/api/search", content=slowly(), headers=told).status_code == 404
            with pytest.raises(httpx.TransportError):
                client.get("/healthz")
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "", "")
    finally:
        process.kill()
        process.wait()


def test_others_are_let_in_with_a_key_or_when_that_is_said(call: Call) -> None:
    call("serve", "--host", "0.0.0.0").error(2, "RETRIEVAL_API_KEY", "--insecure")


@pytest.mark.parametrize("key", ["a", "0123456789abcde", "a" * 40])
def test_a_key_that_is_easily_guessed_is_refused(call: Call, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("RETRIEVAL_API_KEY", key)
    said = call("serve").error(2, "RETRIEVAL_API_KEY", len(key))
    assert key == "a" or key not in said


def test_proxies_that_are_no_addresses(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRIEVAL_TRUSTED_PROXIES", "127.0.0.1, nginx")
    call("serve").error(2, "trusted_proxies", "'nginx'")


def test_a_port_that_is_taken(call: Call) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        call("serve", "--port", port).error(1, port)


@pytest.mark.long
def test_the_public_url_goes_into_every_payload(home: Path, call: Call, folder: Path) -> None:
    assert not any("image_url" in point.payload for point in points(home).values())
    said = call("set-public-url", f"{BASE}/", "--json").object
    assert said["changed"] == len(points(home))
    for id_, point in points(home).items():
        assert point.payload["image_url"] == f"{BASE}/images/{id_}.jpg"
    assert call("set-public-url", BASE, "--json").object["changed"] == 0
    assert call("ingest", folder, "--json").object["unchanged"] == said["changed"]
    new = folder / "3" / "new.png"
    new.write_bytes(min(folder.glob("4/*.png")).read_bytes())
    call("ingest", folder)
    id_ = point_id("pictures", "3/new.png")
    assert points(home)[id_].payload["image_url"] == f"{BASE}/images/{id_}.jpg", "as the collection has it"
    other = call("ingest", folder, "--public-url", "https://pictures.example/here", "--json").object
    assert other["encoded"] == 0
    assert points(home)[id_].payload["image_url"] == f"https://pictures.example/here/images/{id_}.jpg"
    call("reindex", "--max-drop", "100%")
    assert points(home)[id_].payload["image_url"] == f"https://pictures.example/here/images/{id_}.jpg"


@pytest.mark.parametrize("url", ["pictures", "ftp://a/b", "http://", "http://u:p@a", "http://a/?b=c", "file:///etc"])
def test_a_url_that_no_dashboard_could_show(call: Call, url: str) -> None:
    assert "--public-url" not in call("set-public-url", url).error(2, "public URL")
    call("ingest", "nowhere", "--public-url", url).error(2, "public URL", option="--public-url")


def test_the_key_never_comes_by_a_flag(call: Call) -> None:
    assert "--api-key" not in call("serve", "--help").out
