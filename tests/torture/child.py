"""What runs in a forked process: the real command line with a tiny encoder and faults, or a dump of what is stored."""

import functools
import importlib
import json
import os
import re
import signal
import sys
import tempfile
import threading
import time
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.cli.conftest import Done
from tests.processes import ROOT
from tests.torture import faults, stand_ins

SECONDS, REAL_SECONDS = 120, 600
"""Deadlines of a command, without and with JAX and processes of its own."""
IMPORTED = (
    *("retrieval.cli", "retrieval.cli.commands.ingest", "retrieval.cli.commands.reindex", "retrieval.ingest.job"),
    *("retrieval.reindex.job", "retrieval.store.edge.engine", "retrieval.store.qdrant.server", "psutil"),
    *("retrieval.sources.archive", "retrieval.sources.parquet", "retrieval.sources.pathlist", "retrieval.api"),
    *("retrieval.duplicates.job", "retrieval.ops.export", "retrieval.reindex.migrate", "retrieval.reindex.rollback"),
    *("retrieval.cli.commands.search", "pyarrow.parquet", "retrieval.ingest.metadata", "retrieval.ops.job_history"),
    *("pydantic.type_adapter", "typer._adapters", "retrieval.cli.commands.rollback", "retrieval.cli.commands.forget"),
)


@functools.cache
def import_all() -> None:
    """Import, once, what commands need: so a forked process begins at once."""
    stand_ins.keep_jax_out()
    for name in IMPORTED:
        importlib.import_module(name)


class Child:
    """A function in a forked process of its own: a command's code, output, environment and exit code, at once.

    The process that forks has no threads and no engine open.
    """

    def __init__(
        self, function: Callable[[], None], arguments: Sequence[object], environment: Mapping[str, str]
    ) -> None:
        import_all()
        self._seconds = REAL_SECONDS if function is run_real else SECONDS
        self._outputs = [tempfile.TemporaryFile(), tempfile.TemporaryFile()]  # noqa: SIM115 - closed by `wait`
        sys.stdout.flush()
        self._status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            code = 70
            try:
                code = self._work(
                    function, [os.fspath(a) if isinstance(a, Path) else str(a) for a in arguments], environment
                )
            finally:
                os._exit(code)

    def _work(self, function: Callable[[], None], arguments: list[str], environment: Mapping[str, str]) -> int:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, file in enumerate(self._outputs, 1):
            os.dup2(file.fileno(), number)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["retrieval", *arguments]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = 0
        try:
            function()
        except SystemExit as stop:
            code = int(stop.code or 0)
        except BaseException:  # noqa: BLE001 - reported as an interpreter would
            traceback.print_exc()
            code = 70
        sys.stdout.flush()
        sys.stderr.flush()
        for thread in threading.enumerate():  # as the interpreter does at its end
            if thread is not threading.current_thread() and not thread.daemon:
                thread.join()
        return code

    def ended(self) -> bool:
        """Whether the process has ended."""
        if self._status is None:
            pid, found = os.waitpid(self.pid, os.WNOHANG)
            self._status = found if pid else None
        return self._status is not None

    def has_stopped(self) -> bool:
        """Wait until the process stops by SIGSTOP, or ends; returns whether it is stopped."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            state = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0]
            if state in "TZ":
                return state == "T"
            time.sleep(0.005)
        return False

    def find(self, pattern: str) -> str:
        """Wait until the process has said something on standard error that matches; empty if it ends before."""
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            over = self.ended()
            said = os.pread(self._outputs[1].fileno(), 1 << 16, 0).decode(errors="replace")
            if found := re.search(pattern, said):
                return found[0]
            if over:
                break
            time.sleep(0.01)
        return ""

    def wait(self) -> Done:
        """Exit code and outputs; kills the process at the deadline."""
        end = time.monotonic() + self._seconds
        while not self.ended():
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
                end = float("inf")
            time.sleep(0.002)
        assert self._status is not None
        if self._outputs:
            for file in self._outputs:
                file.seek(0)
            self._texts = [file.read().decode(errors="surrogateescape") for file in self._outputs]
            for file in self._outputs:
                file.close()
            self._outputs = []
        return Done(os.waitstatus_to_exitcode(self._status), *self._texts)


def run() -> None:
    """Run the command of the arguments, with the faults that the environment names."""
    stand_ins.install(Path(os.environ["RETRIEVAL_HOME"]))
    run_command()


def run_real() -> None:
    """As `run`, in a new interpreter, and with nothing that stands in."""
    os.execve(sys.executable, [sys.executable, "-m", __name__, *sys.argv[1:]], {**os.environ, "PYTHONPATH": str(ROOT)})


def run_command() -> None:
    """Run the command, then write down what is stored, if the environment says so."""
    if os.environ.get("TORTURE_TUNE"):
        stand_ins.tune_few()
    faults.install(os.environ)
    from retrieval.cli import main

    try:
        main()
    finally:
        if file := os.environ.get("TORTURE_DUMP"):
            Path(file).write_text(read_all(os.environ.get("QDRANT_URL")))


def dump() -> None:
    """Print what is stored at the URL of the arguments, which is empty for the embedded engine."""
    print(read_all(sys.argv[1] or None))


def read_all(url: str | None) -> str:
    """What is stored, read through the store, and each answer of the engine that does not fit the rest, as JSON."""
    from retrieval.config import Settings
    from retrieval.store import open_store

    wrong: list[str] = []
    with open_store(Settings(home=Path(os.environ["RETRIEVAL_HOME"]), qdrant_url=url)) as store:
        found = {name: read_collection(store, name, wrong) for name in store.collections()}
        return json.dumps({"aliases": store.aliases(), "collections": found, "wrong": wrong})


def read_collection(store: Any, name: str, wrong: list[str]) -> dict[str, Any]:
    """What a collection holds; adds to `wrong` what does not fit."""
    meta = store.metadata(name)
    points = [point for page in store.scroll(name, codes=True, page=50) for point in page]
    images = [f"{point.payload['source']}/{point.payload['path']}" for point in points]
    if len({point.id for point in points}) != len(points) or len({*images}) != len(images):
        wrong.append(f"{name}: a point came twice")
    ids = [str(uuid.uuid5(uuid.NAMESPACE_URL, image)) for image in images]
    if others := [image for image, id_, point in zip(images, ids, points, strict=True) if id_ != point.id]:
        wrong.append(f"{name}: the ids of {others} do not follow from their names")
    if store.count(name) != len(points):
        wrong.append(f"{name}: count {store.count(name)}, scroll {len(points)}")
    wrong.extend(f"{name}: {trouble}" for trouble in ask_indexes(store, name, points))
    if points and meta.state == "ready":
        codes = np.array([point.code for point in points], np.float32)
        asked = codes[:: max(1, len(codes) // 3)][:3]
        for code, hits in zip(asked, store.query(name, asked, 5), strict=True):
            true = np.sort(np.linalg.norm(codes - code, axis=1))[:5]
            if not np.allclose([hit.distance for hit in hits], true, atol=1e-5):
                wrong.append(f"{name}: five nearest {[hit.distance for hit in hits]}, not {true.tolist()}")
    return {
        "model": meta.model,
        "state": meta.state,
        "sources": dict(meta.sources),
        "left": list(meta.left),
        "url": meta.public_url,
        "points": {
            image: {"code": point.code.tolist(), "payload": point.payload}
            for image, point in zip(images, points, strict=True)
        },
    }


def ask_indexes(store: Any, name: str, points: Sequence[Any]) -> list[str]:
    """Where the payload indexes of a collection count otherwise than a scan."""
    from retrieval.schema.filters import Filter, Match

    wrong = []
    for field in ("source", "sha256", "path", "label", "width", "stale"):
        values = [point.payload.get(field) for point in points]
        present = sorted({each for each in values if each is not None})
        for value in present[len(points) % max(1, len(present)) :][:1]:
            counted = store.count(name, Filter(must=(Match(field, (value,)),)))
            if counted != values.count(value):
                wrong.append(f"{field}={value}: the index counts {counted}, a scan {values.count(value)}")
    return wrong


if __name__ == "__main__":
    sys.argv[0] = "retrieval"
    stand_ins.use_jax_for_few()
    run_command()
