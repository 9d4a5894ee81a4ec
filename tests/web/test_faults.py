"""A service that stays up: no collection yet, no model, a swap, an engine that dies and comes back."""

import os
import shutil
import signal
import threading
from pathlib import Path

import pytest

from retrieval.web.errors import ENGINE_DOWN
from retrieval.web.limits import Limits
from tests.cli.conftest import Ingested, Trained, copy, done_well
from tests.store import servers
from tests.web.serving import serving, settings_of, until


def test_it_starts_before_there_is_anything_and_goes_on_by_itself(
    trained: Trained, pictures: Path, own_home: Path, digit: bytes
) -> None:
    home = copy(trained.home, own_home)
    with serving(settings_of(home)) as service:
        status = service.client.get("/api/status").json()
        assert (status["state"], status["points"]) == ("no-collection", 0)
        assert "run: retrieval ingest --train SOURCE" in status["message"]
        for answer in (service.client.post("/api/search", files={"image": digit}), service.client.get("/healthz")):
            assert answer.status_code == 503
            assert answer.json()["error"] == status["message"]
            assert str(own_home) not in answer.text
        done_well("ingest", pictures, home=home)
        until(lambda: service.client.post("/api/search", files={"image": digit}).status_code == 200)


def test_without_the_model_it_says_so_and_shows_pictures_all_the_same(
    ingested: Ingested, own_home: Path, digit: bytes
) -> None:
    home = copy(ingested.home, own_home)
    shutil.rmtree(home / "models")
    with serving(settings_of(home)) as service:
        assert service.client.get("/api/status").json()["state"] == "no-model"
        answer = service.client.post("/api/search", files={"image": digit})
        assert answer.status_code == 503
        assert "model" in answer.json()["error"]
        assert str(home) not in answer.text
        point = service.client.get("/api/sample").json()["points"][0]
        assert service.client.post("/api/search", data={"id": point["id"]}).status_code == 200
        assert service.client.get("/readyz").status_code == 503


@pytest.mark.long
@pytest.mark.usefixtures("qdrant_binary")
def test_a_swap_is_seen_and_a_dead_engine_is_survived(
    ingested: Ingested, pictures: Path, own_home: Path, tmp_path: Path, digit: bytes
) -> None:
    home = copy(ingested.home, own_home)
    storage = tmp_path / "qdrant"
    storage.mkdir()
    with servers.running(storage) as url:
        environment = {"QDRANT_URL": url}
        done_well("ingest", pictures, home=home, env=environment)
        with serving(settings_of(home, url), Limits(rate=0)) as service:
            service.ready()
            before = service.client.get("/api/status").json()
            codes: set[int] = set()
            ended = threading.Event()

            def ask() -> None:
                while not ended.wait(0.05):
                    answer = service.client.post("/api/search", files={"image": digit})
                    codes.add(answer.status_code)
                    if answer.status_code == 503:
                        assert answer.json()["error"] == ENGINE_DOWN

            clients = [threading.Thread(target=ask) for _ in range(3)]
            for client in clients:
                client.start()
            done_well("train", pictures, "--epochs", 2, home=home)
            done_well("reindex", "--max-drop", "100%", "--keep", 0, home=home, env=environment)
            until(lambda: service.client.get("/api/status").json()["collection"] != before["collection"])
            after = service.client.get("/api/status").json()
            assert after["model"] != before["model"]
            assert codes == {200}, "nobody is to notice a swap"

            os.kill(servers.pid(storage), signal.SIGSTOP)
            until(lambda: 503 in codes)
            assert service.client.get("/healthz").status_code == 503
            os.kill(servers.pid(storage), signal.SIGCONT)
            until(lambda: service.client.get("/healthz").status_code == 200)
            codes.clear()
            until(lambda: 200 in codes)

            codes.clear()
            port = url.rpartition(":")[2]
            servers.kill(storage)
            until(lambda: 503 in codes)
            assert service.client.get("/healthz").status_code == 503
            assert service.client.get("/api/status").json()["state"] == "engine-down"
            numbers = service.client.get("/metrics").text
            assert "retrieval_engine_up 0.0" in numbers
            assert 'retrieval_engine_errors_total{kind="StoreUnavailable"}' in numbers
            started = servers.qdrant("start", "--dir", str(storage), "--http-port", port)
            assert started.returncode == 0, started.stderr
            until(lambda: service.client.get("/healthz").status_code == 200)
            codes.clear()
            until(lambda: 200 in codes)
            ended.set()
            for client in clients:
                client.join()
            assert codes <= {200, 503}
