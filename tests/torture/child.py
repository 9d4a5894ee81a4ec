"""What runs in a forked process: the real command line with a tiny encoder and a fault, or a dump of what is stored."""

import importlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.cli.conftest import Done
from tests.torture.world import encode_rows

FILES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "socket.connect"}
"""Audit events of the interpreter that are moments for a fault, beside those before and after each write of a store."""
WRITES = ("upsert", "set_payload", "delete", "create_collection", "drop_collection", "move_alias", "set_metadata")
MODELS = "torture.json"
"""In the home: fingerprint → seed and dimension."""


SECONDS = 120
"""Deadline of a command."""
IMPORTED = (
    *("retrieval.cli", "retrieval.cli.commands.ingest", "retrieval.cli.commands.reindex", "retrieval.ingest.job"),
    *("retrieval.reindex.job", "retrieval.store.edge.engine", "retrieval.store.qdrant.server", "psutil"),
)


class Child:
    """A function in a forked process of its own: a command's code, output, environment and exit code, at once.

    The process that forks has no threads and no engine open.
    """

    def __init__(
        self, function: Callable[[], None], arguments: Sequence[object], environment: Mapping[str, str]
    ) -> None:
        for name in IMPORTED:
            importlib.import_module(name)
        self._outputs = [tempfile.TemporaryFile(), tempfile.TemporaryFile()]  # noqa: SIM115 - closed by `wait`
        sys.stdout.flush()
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

    def wait(self) -> Done:
        """Exit code and outputs; kills the process at the deadline."""
        end, status = time.monotonic() + SECONDS, None
        while status is None:
            pid, found = os.waitpid(self.pid, os.WNOHANG)
            status = found if pid else None
            if status is None:
                if time.monotonic() > end:
                    os.kill(self.pid, signal.SIGKILL)
                    end = float("inf")
                time.sleep(0.002)
        texts = []
        for file in self._outputs:
            file.seek(0)
            texts.append(file.read().decode(errors="surrogateescape"))
            file.close()
        return Done(os.waitstatus_to_exitcode(status), *texts)


def run() -> None:
    """Run the command of the arguments, with a signal to this process at the moment that the environment says."""
    use_tiny_encoder()
    name_moments()
    moment, kind = int(os.environ.get("TORTURE_MOMENT", "0")), os.environ.get("TORTURE_SIGNAL", "SIGKILL")
    if moment:
        strike(moment, signal.Signals[kind])
    from retrieval.cli import main

    main()


def use_tiny_encoder() -> None:
    """Encode with `encode_rows` and decode in this process: no JAX, no workers."""
    from retrieval.ingest import pipeline
    from retrieval.model import encoder_process
    from retrieval.sources import read

    known: dict[str, tuple[int, int]] = json.loads((Path(os.environ["RETRIEVAL_HOME"]) / MODELS).read_text())

    def encode(self: Any, images: np.ndarray) -> np.ndarray:
        return encode_rows(images, *known[self.fingerprint])

    def read_here(items: Any, shape: Any, **_: Any) -> Any:
        return read.read_serially(items, shape)

    encoder_process.EncoderProcess.encode = encode  # type: ignore[method-assign]
    vars(pipeline)["read_images"] = read_here


def name_moments() -> None:
    """Raise an audit event before and after each write of a store."""
    from retrieval.store.edge.engine import EdgeStore
    from retrieval.store.qdrant.server import ServerStore

    def around(call: Any, name: str) -> Any:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            sys.audit(f"torture.before.{name}")
            answer = call(*arguments, **named)
            sys.audit(f"torture.after.{name}")
            return answer

        return wrapped

    for store in (EdgeStore, ServerStore):
        for name in WRITES:
            setattr(store, name, around(getattr(store, name), name))


def strike(moment: int, kind: signal.Signals) -> None:
    """Send this process the signal at its `moment`-th event."""
    count = 0

    def hear(event: str, _: tuple[Any, ...]) -> None:
        nonlocal count
        if event in FILES or event.startswith("torture."):
            count += 1
            if count == moment:
                os.kill(os.getpid(), kind)

    sys.addaudithook(hear)


def dump() -> None:
    """Print what is stored, read through the store, and each answer of the engine that does not fit the rest."""
    from retrieval.config import Settings
    from retrieval.schema.filters import Filter, Match
    from retrieval.schema.records import payload_name
    from retrieval.store import open_store

    url = sys.argv[1] or None
    wrong: list[str] = []
    found: dict[str, Any] = {}
    with open_store(Settings(home=Path(os.environ["RETRIEVAL_HOME"]), qdrant_url=url)) as store:
        aliases = store.aliases()
        for name in store.collections():
            meta = store.metadata(name)
            points = [point for page in store.scroll(name, codes=True, page=50) for point in page]
            ids = [point.id for point in points]
            if len(set(ids)) != len(ids):
                wrong.append(f"{name}: a point came twice")
            if store.count(name) != len(points):
                wrong.append(f"{name}: count {store.count(name)}, scroll {len(points)}")
            for field in ("source", "sha256", "path"):
                for value in sorted({point.payload[field] for point in points})[:5]:
                    counted = store.count(name, Filter(must=(Match(field, (value,)),)))
                    scanned = sum(point.payload[field] == value for point in points)
                    if counted != scanned:
                        wrong.append(f"{name}: {field}={value}: the index counts {counted}, a scan {scanned}")
            if points and meta.state == "ready":
                codes = np.array([point.code for point in points], np.float32)
                asked = codes[:: max(1, len(codes) // 3)][:3]
                for code, hits in zip(asked, store.query(name, asked, 5), strict=True):
                    true = np.sort(np.linalg.norm(codes - code, axis=1))[:5]
                    if not np.allclose([hit.distance for hit in hits], true, atol=1e-5):
                        wrong.append(f"{name}: five nearest {[hit.distance for hit in hits]}, not {true.tolist()}")
            found[name] = {
                "model": meta.model,
                "state": meta.state,
                "points": {
                    payload_name(p.payload): {"code": p.code.tolist(), "payload": p.payload}  # type: ignore[union-attr]
                    for p in points
                },
            }
    print(json.dumps({"aliases": aliases, "collections": found, "wrong": wrong}))
