"""The protocol between scripts/bench_article and the processes that it compares: JSON, one object per line.

Each row of the table has a process of its own, so that its peak memory can be measured and libraries do not conflict.
A process trains, writes the embeddings of all images and reports; then it encodes again for each line that it receives,
so that several processes can be timed in turn, even on a machine in use.
"""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

TRAIN_SECONDS = 2 * 3600.0
ENCODE_SECONDS = 600.0
STOP_SECONDS = 10.0


class Failed(Exception):
    """A process ended or was too slow; its stderr says why."""


class Worker:
    """A process that has finished training; `report` is its report. It ends with the `with` block."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        """Start it in `folder` and wait until it has trained. Raises Failed."""
        self.name = name
        folder.mkdir(parents=True)
        # a new session, so that its children can be ended with it
        self._process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            self.report = self._answer(TRAIN_SECONDS)
        except BaseException:
            self.stop()
            raise

    def encode(self) -> float:
        """Seconds that encoding all training images took. Raises Failed."""
        assert self._process.stdin
        self._process.stdin.write("encode\n")
        self._process.stdin.flush()
        return float(self._answer(ENCODE_SECONDS)["seconds"])

    def stop(self) -> None:
        """End the process and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(STOP_SECONDS)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe
            with contextlib.suppress(OSError):
                pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _answer(self, seconds: float) -> dict[str, Any]:
        """Read the next line; ends the process if none comes in time."""
        assert self._process.stdout
        deadline = threading.Timer(seconds, self._process.kill)
        deadline.start()
        line = self._process.stdout.readline()
        in_time = deadline.is_alive()
        deadline.cancel()
        if not line:
            why = f"ended with code {self._process.wait(STOP_SECONDS)}" if in_time else f"took over {seconds:,.0f} s"
            raise Failed(f"row {self.name}: the process {why}; see above")
        answer: dict[str, Any] = json.loads(line)
        return answer


def serve(report: Mapping[str, Any], encode: Callable[[], object]) -> None:
    """Run in the process: write the report, then encode once for each line on stdin."""
    print(json.dumps(report), flush=True)
    for _ in sys.stdin:
        started = time.perf_counter()
        encode()
        print(json.dumps({"seconds": time.perf_counter() - started}), flush=True)


def peak_bytes(whose: int = resource.RUSAGE_SELF) -> int:
    """Peak memory of this process, or of its largest child (RUSAGE_CHILDREN), in bytes.

    Linux includes what the parent held when it started the process, so the parent must be small.
    """
    return resource.getrusage(whose).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
