"""Three real nodes as the tests see them: killed, stopped for a while, started again, and each read by itself."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from tests.store import servers

SECONDS = 60
"""Until what was away is whole again, at most."""
ALL_POINTS = 100_000


@dataclass(frozen=True)
class Cluster:
    """Its folder, and the nodes' URLs, by which it is found again after a restart."""

    folder: Path
    urls: list[str]

    @property
    def url(self) -> str:
        """All three, as in QDRANT_URL."""
        return ",".join(self.urls)

    def kill(self, *nodes: int) -> None:
        """kill -9; nodes count from 0, as URLs do."""
        for node in nodes:
            servers.kill(self._folder(node))

    def start(self) -> None:
        """Start what does not run, and wait until each node knows the others."""
        started = servers.qdrant("cluster", "start", "--dir", str(self.folder))
        assert started.stdout.split() == self.urls, started.stderr

    @contextlib.contextmanager
    def without(self, *nodes: int) -> Iterator[None]:
        """The nodes are dead within the block."""
        self.kill(*nodes)
        try:
            yield
        finally:
            self.start()

    @contextlib.contextmanager
    def hanging(self, node: int) -> Iterator[None]:
        """The node takes connections and does not answer within the block."""
        process = servers.pid(self._folder(node))
        os.kill(process, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(process, signal.SIGCONT)

    def same(self, collection: str) -> dict[str, Any]:
        """The points by id, once all replicas are active and hold the same ones; each of them is read."""
        end = time.monotonic() + SECONDS
        while (trouble := self._troubles(collection)) and time.monotonic() < end:
            time.sleep(0.2)
        assert not trouble, f"{collection} is not whole after {SECONDS} s: {trouble}"
        first, *others = [self._points(url, collection, consistency) for url in self.urls for consistency in (1, "all")]
        for other in others:
            assert other == first, "nodes differ"
        return first

    def _troubles(self, collection: str) -> list[str]:
        """What is wrong with the collection's replicas, by each node's word."""
        found, counts = [], dict[int, list[int]]()
        for url in self.urls:
            says = asked(f"{url}/collections/{collection}/cluster")
            replicas = says["local_shards"] + says["remote_shards"]
            found += [f"{url}: shard {r['shard_id']} is {r['state']}" for r in replicas if r["state"] != "Active"]
            found += [f"{url}: {transfer}" for transfer in says["shard_transfers"]]
            for replica in says["local_shards"]:
                counts.setdefault(replica["shard_id"], []).append(replica["points_count"])
        differ = [f"shard {shard} has {n} points" for shard, n in counts.items() if len(n) != 2 or n[0] != n[1]]
        return found + differ

    def _points(self, url: str, collection: str, consistency: int | str) -> dict[str, Any]:
        """Of one replica of each shard, the node's own where it has one; with `all`, what every replica agrees on."""
        answer = asked(
            f"{url}/collections/{collection}/points/scroll?consistency={consistency}",
            {"limit": ALL_POINTS, "with_payload": True, "with_vector": True},
        )
        return {point["id"]: point for point in answer["points"]}

    def _folder(self, node: int) -> Path:
        return self.folder / f"node-{node + 1}"


def asked(url: str, question: dict[str, Any] | None = None) -> Any:
    """The result of a GET, or of a POST of the question."""
    with httpx.Client(timeout=SECONDS, trust_env=False) as client:
        answer = client.get(url) if question is None else client.post(url, json=question)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]
