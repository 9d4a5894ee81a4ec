"""Real Qdrant servers for the tests, started and stopped by `scripts/qdrant` as users do."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "qdrant"
FETCH_SECONDS = 900


def qdrant(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run `scripts/qdrant` with the given Qdrant settings only."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("QDRANT__")}
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=FETCH_SECONDS,
        check=False,
    )


@contextlib.contextmanager
def running(folder: Path, **environment: str) -> Iterator[str]:
    """The URL of a server that runs during the block."""
    started = qdrant("start", "--dir", str(folder), "--http-port", "0", **environment)
    assert started.returncode == 0, started.stderr
    try:
        yield started.stdout.strip()
    finally:
        stopped = qdrant("stop", "--dir", str(folder))
        assert stopped.returncode == 0, stopped.stderr


def pid(folder: Path) -> int:
    """Process id of the server that `running` started in the folder."""
    return int(json.loads((folder / "server.json").read_text())["pid"])


def url(folder: Path) -> str:
    """URL of that server."""
    return str(json.loads((folder / "server.json").read_text())["url"])


def kill(folder: Path) -> None:
    """Kill the server with SIGKILL, and wait until it is gone."""
    number = pid(folder)
    os.kill(number, signal.SIGKILL)
    end = time.monotonic() + 30
    while Path(f"/proc/{number}").exists() and time.monotonic() < end:
        time.sleep(0.01)
