"""The service as clients meet it: a real server on a free port, in a thread of this process."""

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import uvicorn

from retrieval.api import Index
from retrieval.config import Settings
from retrieval.store import open_for_service
from retrieval.web.app import create_app
from retrieval.web.limits import Limits
from retrieval.web.server import listen, server_config

SECONDS = 60


@dataclass(frozen=True)
class Served:
    """Where it answers, and a client for it."""

    url: str
    client: httpx.Client
    index: Index

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def ready(self) -> None:
        """Wait until the model has been loaded and compiled."""
        until(lambda: self.client.get("/readyz").status_code == 200)


@contextlib.contextmanager
def serving(
    settings: Settings,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    *,
    alias: str = "images",
    key: str | None = None,
    proxies: str | None = None,
) -> Iterator[Served]:
    """The service on what the settings say, as `retrieval serve` makes it."""
    listening = listen("127.0.0.1", 0)
    with listening, open_for_service(settings, alias) as store:
        index = Index(store, settings, alias)
        server = uvicorn.Server(server_config(create_app(index, limits, key=key), limits, proxies))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            until(lambda: server.started)
            url = f"http://127.0.0.1:{listening.getsockname()[1]}"
            with httpx.Client(base_url=url, timeout=SECONDS, trust_env=False) as client:
                yield Served(url, client, index)
        finally:
            server.should_exit = True
            thread.join(SECONDS)
        assert not thread.is_alive(), "it did not end when told to"


def until(condition: object, seconds: float = SECONDS) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "not in time"
        time.sleep(0.02)


def settings_of(home: Path, url: str | None = None) -> Settings:
    return Settings(home=home, qdrant_url=url)
