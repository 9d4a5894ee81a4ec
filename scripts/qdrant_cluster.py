"""Three Qdrant servers on loopback that form one cluster, each in a folder of its own."""

import itertools
import json
import random
import socket
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from qdrant_binary import Problem, wait_for
from qdrant_node import START_SECONDS, Node, free_port

NODES = 3
KINDS = ("http", "grpc", "p2p")
BELOW_EPHEMERAL = (10_000, 30_000)
"""Ports outside the ephemeral range, so that they are still free after a restart."""
TICK_MS = "50"
"""Moving an alias takes one and a half ticks: 145 ms with Qdrant's default of 100, 77 ms with this."""
APART_SECONDS = 2
"""Nodes that join at the same time disturb each other."""


class Cluster:
    """Folders `node-1` to `node-3`; `cluster.json` holds the ports under which the nodes know each other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.nodes = [Node(self.folder / f"node-{number}") for number in range(1, NODES + 1)]

    def start(self) -> list[str]:
        """Start the nodes that do not run; returns their URLs once each of them knows all others."""
        ports = self._ports()
        with ThreadPoolExecutor(NODES) as pool:  # at once: after a restart none is ready before most of them are
            urls = list(pool.map(lambda number: self._start(number, ports), range(NODES)))
        wait_for(lambda: all(peers(url) == NODES for url in urls), START_SECONDS, f"{urls} do not know each other")
        return urls

    def stop(self) -> list[str]:
        """Stop every node; returns what was done."""
        with ThreadPoolExecutor(NODES) as pool:
            return list(pool.map(Node.stop, self.nodes))

    def _start(self, number: int, ports: list[dict[str, int]]) -> str:
        own, first = ports[number], ports[0]
        options = ["--uri", f"http://127.0.0.1:{own['p2p']}"]
        if number:
            before = ports[number - 1]["p2p"]
            wait_for(lambda: listens(before), START_SECONDS, f"node {number} of {self.folder} does not start")
            time.sleep(APART_SECONDS)
            options += ["--bootstrap", f"http://127.0.0.1:{first['p2p']}"]
        environment = {
            "QDRANT__CLUSTER__ENABLED": "true",
            "QDRANT__CLUSTER__P2P__PORT": str(own["p2p"]),
            "QDRANT__CLUSTER__CONSENSUS__TICK_PERIOD_MS": TICK_MS,
            "QDRANT__SERVICE__GRPC_PORT": str(own["grpc"]),
        }
        return self.nodes[number].start(own["http"], options, environment)

    def _ports(self) -> list[dict[str, int]]:
        """The ports of an earlier start, because the nodes' storage names them; otherwise free ones."""
        record = self.folder / "cluster.json"
        if record.exists():
            return list(json.loads(record.read_text()))
        starts = list(range(*BELOW_EPHEMERAL, len(KINDS)))
        random.shuffle(starts)  # several clusters may start at once
        free = (first for first in starts if all(free_port(first + kind) == first + kind for kind in range(len(KINDS))))
        ports = [{kind: first + place for place, kind in enumerate(KINDS)} for first in itertools.islice(free, NODES)]
        if len(ports) < NODES:
            raise Problem("not enough free ports on 127.0.0.1")
        self.folder.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps(ports))
        return ports


def listens(port: int) -> bool:
    """Whether a process accepts connections on the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def peers(url: str) -> int:
    """Number of nodes in the cluster, according to this one."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{url}/cluster", timeout=5) as answer:
        return len(json.load(answer)["result"].get("peers", {}))
