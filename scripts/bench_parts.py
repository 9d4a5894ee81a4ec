"""What the benchmarks share: a home and a server in a folder, the engine's bare answer, a table of figures."""

import contextlib
import http.client
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from retrieval.api import Index
from retrieval.config import Settings

K = 5
DEADLINE = 3600.0
READY_SECONDS = 120.0
Row = tuple[str, str, str, bool | None]
"""Figure, measured value, goal, and whether the goal is met."""


INGEST = """
import json, sys, time
from pathlib import Path
from retrieval.config import load_settings
from retrieval.model.encoder_process import EncoderProcess
from retrieval.ingest.job import ingest
from retrieval.ingest.options import IngestOptions, RayCluster
from retrieval.model.resolve import load_model
from retrieval.sources import open_source
from retrieval.store import open_store

if __name__ == "__main__":
    folder, alias, workers = sys.argv[1:]
    settings, started, seen = load_settings(), time.monotonic(), []
    options = IngestOptions(ray=RayCluster(settings), workers=int(workers)) if int(workers) else IngestOptions()
    encoder = EncoderProcess(load_model(settings, None), settings.xla_cache)
    with open_store(settings) as store:
        report = lambda summary: seen.append((time.monotonic() - started, summary.done))
        ingest(store, encoder, [open_source(folder, settings)], alias, options, ledgers=settings.refused, report=report)
    encoder.close()
    (first, some), (last, all_) = seen[0], seen[-1]
    print(json.dumps({"rate": (all_ - some) / (last - first), "first": first, "whole": last, "done": all_}))
"""
"""A program that ingests a folder, and prints images a second from its first stored batch to its last, the seconds
until each of these, and how many images it stored."""


class Cost(NamedTuple):
    """Seconds of wall time and of processor time."""

    wall: float
    cpu: float


def print_rows(rows: Sequence[Row]) -> int:
    """Print the table; returns 1 when a figure misses its goal."""
    table = Table("figure", "measured", "goal", "")
    for figure, measured, goal, good in rows:
        table.add_row(figure, measured, goal, {True: "yes", False: "NO", None: ""}[good])
    Console().print(table)
    return 0 if all(good is not False for *_, good in rows) else 1


class Place:
    """A home, a server and images in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = Path(os.environ["RETRIEVAL_DATA"])
        self.settings = Settings(home=folder / "home", data=self.data, qdrant_url=None)
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("QDRANT_")}
        self.environment["RETRIEVAL_HOME"] = str(self.settings.home)

    def retrieval(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "retrieval", *arguments]
        subprocess.run(command, env=self.environment, check=True, timeout=DEADLINE, stdout=subprocess.DEVNULL)

    def measure_command(self, *arguments: str) -> tuple[str, int]:
        """Run a command; returns its output and its peak memory in bytes."""
        return measure_command([sys.executable, "-m", "retrieval", *arguments], self.environment)

    def time_ingest(self, folder: Path, alias: str, workers: int = 0) -> dict[str, float]:
        """Ingest into a new collection, on that many Ray workers or without Ray; returns what INGEST prints."""
        script = self.folder / "run.py"
        script.write_text(INGEST)
        command = [sys.executable, str(script), str(folder), alias, str(workers)]
        piped = subprocess.PIPE
        done = subprocess.run(command, env=self.environment, check=True, stdout=piped, text=True, timeout=DEADLINE)
        return dict(json.loads(done.stdout.splitlines()[-1]))

    @contextlib.contextmanager
    def serve(self, *options: str) -> Iterator[tuple[int, int]]:
        """Run a service; yields its port and process id once it is ready."""
        command = [sys.executable, "-m", "retrieval", "serve", "--port", "0", "--rate", "0", *options]
        with subprocess.Popen(command, env=self.environment, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr
            try:
                port = int(process.stderr.readline().partition("127.0.0.1:")[2].split()[0])
                end = time.monotonic() + READY_SECONDS
                while get(port, "/readyz")[0] != 200:
                    assert time.monotonic() < end, "it is not ready"
                    time.sleep(0.1)
                yield port, process.pid
            finally:
                process.send_signal(signal.SIGTERM)

    def qdrant(self, action: str) -> str:
        script = [sys.executable, str(Path(__file__).with_name("qdrant")), action, "--dir", str(self.folder / "qdrant")]
        port = ["--http-port", "0"] if action == "start" else []
        quiet = subprocess.DEVNULL if action == "stop" else None
        piped = subprocess.PIPE
        return subprocess.run(
            [*script, *port], check=True, timeout=DEADLINE, stdout=piped, stderr=quiet, text=True
        ).stdout


def get(port: int, path: str) -> tuple[int, bytes]:
    """Status and body of an answer of the service."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=READY_SECONDS)
    client.request("GET", path)
    answer = client.getresponse()
    return answer.status, answer.read()


def query_engine(index: Index, codes: np.ndarray) -> None:
    """Query the engine through its own client, without our code around it."""
    collection = index.live().collection
    if index.store.engine == "server":
        client, models = index.store._client, sys.modules["qdrant_client"].models  # type: ignore[attr-defined]
        requests = [models.QueryRequest(query=c.tolist(), limit=K, with_payload=True) for c in codes]
        with time_limit(index):
            client.query_batch_points(collection, requests)
        return
    import qdrant_edge as edge

    shard = index.store._shard(collection).edge  # type: ignore[attr-defined]
    for start in range(0, len(codes), 64):
        requests = [
            edge.QueryRequest(limit=K, query=edge.Query.Nearest(c.tolist()), with_payload=True)
            for c in codes[start : start + 64]
        ]
        shard.query_batch(edge.QueryBatchRequest(requests))


@contextlib.contextmanager
def time_limit(index: Index) -> Iterator[None]:
    """Set the node and the time limit that the client takes from the store's connection."""
    connection = index.store._connection  # type: ignore[attr-defined]
    connection._try.set((connection._nodes.current, 60.0))
    yield


STARTER = """
import pathlib, resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
pathlib.Path(sys.argv[1]).write_text(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


def measure_command(command: Sequence[str], environment: Mapping[str, str]) -> tuple[str, int]:
    """Run a command; returns its output and its peak memory in bytes.

    A small process starts it, because Linux counts the memory of the parent at the start.
    """
    with tempfile.NamedTemporaryFile("r") as peak:
        done = subprocess.run(
            [sys.executable, "-S", "-c", STARTER, peak.name, *command],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=DEADLINE,
        )
        return done.stdout, int(peak.read()) * 1024


def measure_cost(work: Callable[[], object], *others: int) -> Cost:
    """Wall time, and processor time of this process, of its finished children and of other processes.

    others: their ids
    """

    def spent() -> float:
        used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        stats = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13] for pid in others)
        ticks = sum(int(each) for stat in stats for each in stat)
        return sum(u.ru_utime + u.ru_stime for u in used) + ticks / os.sysconf("SC_CLK_TCK")

    started, before = time.perf_counter(), spent()
    work()
    return Cost(time.perf_counter() - started, spent() - before)


def time_call(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def median(values: Sequence[float]) -> float:
    return float(statistics.median(values))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
