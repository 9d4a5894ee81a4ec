"""The engines that are tortured: embedded, a real server, a cluster of three; how each is emptied, hurt and healed."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import httpx
from qdrant_client.models import ClusterStatusOneOf1

from retrieval.store.qdrant.health import unreachable_peers
from tests.cluster.nodes import Cluster
from tests.store import servers

HEAL_SECONDS = 60.0


class Embedded:
    """The embedded engine; there is nothing beside the job to hurt."""

    url = ""
    faults: ClassVar[dict[str, float]] = {}
    survives_full_disk = True

    def wipe(self) -> None:
        """Its files are in the home, which is new for each list."""

    def hurt(self, fault: str, seconds: float) -> None:
        raise AssertionError(fault)

    def heal(self) -> None:
        """There is nothing to wait for."""


class Server:
    """One server, started by `scripts/qdrant` in a folder."""

    survives_full_disk = True
    faults: ClassVar[dict[str, float]] = {"server killed": 1.0, "server stopped": 0.3, "server frozen": 0.3}

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = servers.url(folder)

    def wipe(self) -> None:
        """Drop every collection, also the one with the locks."""
        for each in httpx.get(f"{self._any}/collections", timeout=30).json()["result"]["collections"]:
            httpx.delete(f"{self._any}/collections/{each['name']}", timeout=60).raise_for_status()

    def hurt(self, fault: str, seconds: float) -> None:
        """Kill, stop or freeze the server now; it is started again at once, or goes on after so many seconds."""
        if fault == "server frozen":
            freeze(self._folder, seconds)
        elif fault == "server killed":
            servers.kill(self._folder)
        else:
            servers.qdrant("stop", "--dir", str(self._folder))
        self._start()

    def heal(self) -> None:
        """After a full disk: start it again if it has died, or if a collection stays red though there is room again.

        It dies because it writes to its files as if they were memory.
        """
        alive = Path(f"/proc/{servers.pid(self._folder)}").exists()
        if alive and any(self._status(each["name"]) == "red" for each in ask(f"{self.url}/collections")["collections"]):
            servers.qdrant("stop", "--dir", str(self._folder))
            alive = False
        if not alive:
            self._start()

    def _status(self, collection: str) -> str:
        return str(ask(f"{self.url}/collections/{collection}")["status"])

    def _start(self) -> None:
        """Start it if it does not run; returns once it answers."""
        started = servers.qdrant("start", "--dir", str(self._folder), "--http-port", self.url.rsplit(":", 1)[1])
        assert started.returncode == 0, started.stderr

    @property
    def _any(self) -> str:
        return self.url.split(",")[0]


class Nodes(Server):
    """Three nodes of a cluster."""

    survives_full_disk = False
    """Its consensus stops, until the node is started again."""
    faults: ClassVar[dict[str, float]] = {"node killed": 1.0, "node frozen": 0.3}

    def __init__(self, folder: Path) -> None:
        urls = [servers.url(folder / f"node-{number}") for number in (1, 2, 3)]
        self._cluster, self._folder = Cluster(folder, urls), folder
        self.url = self._cluster.url

    def hurt(self, fault: str, seconds: float) -> None:
        """Kill or freeze one of the nodes; which one depends on the time."""
        node = int(seconds * 1000) % 3
        if fault == "node frozen":
            freeze(self._folder / f"node-{node + 1}", seconds)
        else:
            self._cluster.kill(node)
            self._cluster.start()

    def heal(self) -> None:
        """Wait until every replica of every collection is active, and no node has just failed to reach another."""
        end = time.monotonic() + HEAL_SECONDS
        while time.monotonic() < end:
            with contextlib.suppress(httpx.HTTPError, KeyError):
                if not any(self._find_troubles(url) for url in self._cluster.urls):
                    return
            time.sleep(0.1)
        raise AssertionError(f"the cluster is not whole after {HEAL_SECONDS:.0f} s")

    def _find_troubles(self, url: str) -> bool:
        if unreachable_peers(ClusterStatusOneOf1.model_validate(ask(f"{url}/cluster"))):  # as a re-index asks
            return True
        names = [each["name"] for each in ask(f"{url}/collections")["collections"]]
        says = [ask(f"{url}/collections/{name}/cluster") for name in names]
        replicas = [each for one in says for each in one["local_shards"] + one["remote_shards"]]
        return any(each["state"] != "Active" for each in replicas) or any(one["shard_transfers"] for one in says)


def ask(url: str) -> Any:
    answer = httpx.get(url, timeout=10)
    answer.raise_for_status()
    return answer.json()["result"]


def freeze(folder: Path, seconds: float) -> None:
    """Stop the server's process for so many seconds."""
    process = servers.pid(folder)
    os.kill(process, signal.SIGSTOP)
    time.sleep(seconds)
    os.kill(process, signal.SIGCONT)


Engine = Embedded | Server


@contextlib.contextmanager
def running(kind: str, folder: Path) -> Iterator[Engine]:
    """An engine of that kind: embedded, server or cluster."""
    if kind == "embedded":
        yield Embedded()
    elif kind == "server":
        with servers.running(folder):
            yield Server(folder)
    else:
        started = servers.qdrant("cluster", "start", "--dir", str(folder))
        assert started.returncode == 0, started.stderr
        try:
            yield Nodes(folder)
        finally:
            servers.qdrant("cluster", "stop", "--dir", str(folder))
