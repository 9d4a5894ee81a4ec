"""The files around the program: what Docker, compose and CI are told, and the server's health check."""

import re
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml

from tests.store import servers

ROOT = Path(__file__).parents[2]
HEALTHCHECK = ROOT / "infra" / "healthcheck"
JOBS = ("train", "ingest", "search")


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text("utf-8"))


@pytest.fixture
def services() -> dict[str, Any]:
    return dict(load("docker-compose.yml")["services"])


def test_compose_and_the_scripts_run_the_same_server(services: dict[str, Any]) -> None:
    script = (ROOT / "scripts" / "qdrant_binary.py").read_text("utf-8")
    version = re.search(r'^VERSION = "(.+)"$', script, re.MULTILINE)
    assert version is not None
    assert services["qdrant"]["image"] == f"qdrant/qdrant:v{version[1]}"


def test_only_loopback_is_published(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert "127.0.0.1:6333:6333" in published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_every_service_is_bounded_and_its_log_rotates(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert {"mem_limit", "pids_limit"} <= service.keys(), name
        assert service["logging"]["options"] == {"max-size": "10m", "max-file": "3"}, name
        assert service["restart"] == ("no" if name in JOBS else "unless-stopped"), name


def test_the_server_keeps_its_data_and_proves_its_health(services: dict[str, Any]) -> None:
    qdrant = services["qdrant"]
    mounts = dict(volume.split(":")[:2] for volume in qdrant["volumes"])
    settings = load("infra/qdrant.yaml")
    assert mounts["storage"] == settings["storage"]["storage_path"]
    assert mounts["snapshots"] == settings["storage"]["snapshots_path"]
    assert settings["telemetry_disabled"] is True
    assert qdrant["healthcheck"]["test"] == ["CMD", "bash", mounts["./infra/healthcheck"]]
    assert mounts["./infra/qdrant.yaml"] == "/qdrant/config/production.yaml"


def test_no_key_is_written_down_and_none_given_means_none_set(services: dict[str, Any]) -> None:
    assert services["qdrant"]["environment"] == ["QDRANT__SERVICE__API_KEY${QDRANT_API_KEY:+=}${QDRANT_API_KEY:-}"]
    assert services["ingest"]["environment"]["QDRANT_API_KEY"] == "${QDRANT_API_KEY:-}"


@pytest.mark.parametrize("job", JOBS)
def test_a_job_runs_once_on_pictures_it_cannot_change(services: dict[str, Any], job: str) -> None:
    service = services[job]
    assert service["profiles"] == [job]
    assert service["entrypoint"] == ["retrieval", job]
    pictures, home = service["volumes"]
    assert (pictures["source"], pictures["read_only"]) == ("${PICTURES:-./pictures}", True)
    assert home["target"] in (ROOT / service["build"]["dockerfile"]).read_text("utf-8")


@pytest.mark.parametrize("job", ["ingest", "search"])
def test_a_job_reaches_a_healthy_server_over_loopback(services: dict[str, Any], job: str) -> None:
    service = services[job]
    assert service["network_mode"] == "service:qdrant"
    assert service["depends_on"]["qdrant"]["condition"] == "service_healthy"
    assert urlsplit(service["environment"]["QDRANT_URL"]).hostname == "127.0.0.1"


def test_the_image_installs_by_hash_and_runs_without_root() -> None:
    text = (ROOT / "infra" / "Dockerfile").read_text("utf-8")
    steps = [line.split(maxsplit=1) for line in text.splitlines() if line and line[0].isupper()]
    final = dict(steps)
    assert final["USER"] not in {"root", "0"}
    assert final["ENTRYPOINT"] == '["retrieval"]'
    installed = text.replace("\\\n", "").split("&&")
    (packages,) = (step for step in installed if "-r pyproject.toml" in step)
    assert "--only-binary :all: --constraint requirements-dev.txt" in packages
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert (
        {"serve"}
        <= set(steps[steps.index(["ARG", "EXTRAS=serve,parquet"])][1].partition("=")[2].split(","))
        <= set(extras)
    )
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[0] == "!"}
    copied = {name for step, rest in steps if step == "COPY" and "--from" not in rest for name in rest.split()[:-1]}
    assert copied == allowed
    assert [name for name in copied if not (ROOT / name).exists()] == []


def test_the_workflow_runs_our_script_on_every_python_we_promise() -> None:
    workflow = load(".github/workflows/ci.yml")
    job = workflow["jobs"]["test"]
    promised = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text("utf-8"))
    assert job["strategy"]["matrix"]["python"] == promised
    assert job["steps"][-1]["run"] == "bash .ci/run"
    assert workflow["permissions"] == {"contents": "read"}
    assert job["timeout-minutes"] <= 60


def health(url: str, key: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["bash", HEALTHCHECK],
        env={"QDRANT__SERVICE__HTTP_PORT": str(urlsplit(url).port), "QDRANT__SERVICE__API_KEY": key},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_real_server_is_healthy_with_its_key_only(qdrant_binary: Path, tmp_path: Path) -> None:
    with (
        servers.running(tmp_path, QDRANT__SERVICE__API_KEY="sesame") as url,
        httpx.Client(base_url=url, headers={"api-key": "sesame"}, timeout=10) as client,
    ):
        for name in ("cats", "dogs-1"):
            made = client.put(f"/collections/{name}", json={"vectors": {"size": 4, "distance": "Euclid"}})
            assert made.status_code == 200
        assert health(url, "sesame").returncode == 0
        refused = health(url, "wrong")
        assert (refused.returncode, refused.stderr) == (1, "GET /collections answered 401\n")
    assert health(url, "sesame").returncode == 1


@contextmanager
def broken_server() -> Iterator[str]:
    """Lists two collections, the second of which answers every query with 500."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200, b'{"result":{"collections":[{"name":"good"},{"name":"bad"}]}}')

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(500 if "/bad/" in self.path else 200, b"{}")

        def answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_a_server_with_one_broken_collection_is_not_healthy() -> None:
    with broken_server() as url:
        done = health(url)
    assert (done.returncode, done.stderr) == (1, "POST /collections/bad/points/query answered 500\n")
