"""One Qdrant server on loopback: start it, find it again, stop it.

The server inherits a locked file, and runs as long as the lock is held: so a process id that another program has
received since is never mistaken for the server, and never killed.
"""

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from qdrant_binary import Problem, acquire, binary, wait_for

START_SECONDS = 30
STOP_SECONDS = 15
HTTP_PORT = 6333

Server = subprocess.Popen[bytes]


class Node:
    """A server with all its files in one folder: `storage/`, `snapshots/`, `qdrant.log`, `server.json`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.log = self.folder / "qdrant.log"
        self.record = self.folder / "server.json"

    def start(
        self,
        http_port: int | None = None,
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """Start the server unless it runs; returns the URL once it answers a query. `http_port` 0: any free port."""
        program = binary()
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._lock_file() as lock:
            if not acquire(lock.fileno()):
                return self._running()
            url = f"http://127.0.0.1:{free_port(HTTP_PORT) if http_port is None else http_port or free_port()}"
            server = self._spawn([str(program), *options], url, dict(environment or {}), lock)
            wait_for(lambda: self._ready(server, url), START_SECONDS, f"{url} does not answer; see {self.log}")
            return url

    def stop(self) -> str:
        """Stop the server by SIGTERM, then by SIGKILL; returns what was done."""
        if not self.folder.is_dir():
            return f"nothing runs in {self.folder}"
        with self._lock_file() as lock:
            if acquire(lock.fileno()):
                return f"nothing runs in {self.folder}"
            record = json.loads(self.record.read_text())
            for sign in (signal.SIGTERM, signal.SIGKILL):
                os.kill(record["pid"], sign)
                try:
                    wait_for(lambda: acquire(lock.fileno()), STOP_SECONDS, f"{record['url']} does not stop")
                    return f"stopped {record['url']} ({sign.name})"
                except Problem:
                    if sign is signal.SIGKILL:
                        raise
        raise AssertionError("not reached")

    def _lock_file(self) -> IO[str]:
        return (self.folder / "running.lock").open("w")

    def _spawn(self, command: list[str], url: str, extra: dict[str, str], lock: IO[str]) -> Server:
        self.record.unlink(missing_ok=True)  # an earlier server's
        port = int(url.rsplit(":", 1)[1])
        environment = {
            **os.environ,
            "QDRANT__SERVICE__HOST": "127.0.0.1",
            "QDRANT__SERVICE__HTTP_PORT": str(port),
            "QDRANT__SERVICE__GRPC_PORT": str(free_port(port + 1)),
            "QDRANT__STORAGE__STORAGE_PATH": str(self.folder / "storage"),
            "QDRANT__STORAGE__SNAPSHOTS_PATH": str(self.folder / "snapshots"),
            "QDRANT__TELEMETRY_DISABLED": "true",
            **extra,
        }
        with self.log.open("ab") as log:
            server = subprocess.Popen(
                command,
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )
        draft = self.record.with_suffix(".new")
        draft.write_text(json.dumps({"pid": server.pid, "url": url}))
        draft.rename(self.record)
        return server

    def _ready(self, server: Server, url: str) -> bool:
        """Whether the server answers. Raises Problem if it has ended: another process may use its port."""
        if server.poll() is not None:
            errors = [line for line in self.log.read_text(errors="replace").split("\n") if "Error: " in line]
            why = errors[-1].strip() if errors else f"exit code {server.returncode}"
            raise Problem(f"the server ended: {why} (see {self.log})")
        return answers(url)

    def _running(self) -> str:
        """The URL of the server that holds the lock, which may still be starting."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            try:
                url = str(json.loads(self.record.read_text())["url"])
                if answers(url):
                    return url
            except FileNotFoundError:
                pass  # the one who starts it has not written it yet
            time.sleep(0.05)
        raise Problem(f"a server runs in {self.folder} but does not answer; see {self.log}; scripts/qdrant stop")


def answers(url: str) -> bool:
    """True when the server is ready and answers a query; raises Problem when it refuses the key."""
    key = os.environ.get("QDRANT__SERVICE__API_KEY")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        for path in ("/readyz", "/collections"):
            request = urllib.request.Request(url + path, headers={"api-key": key} if key else {})
            opener.open(request, timeout=2).close()
    except urllib.error.HTTPError as refusal:
        refusal.close()
        if refusal.code in (401, 403):
            raise Problem(f"{url} needs another key: set QDRANT__SERVICE__API_KEY as at its start") from None
        return False
    except OSError:
        return False
    return True


def free_port(wanted: int = 0) -> int:
    """The wanted port when it is free on loopback, else any free one."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Problem("no free port on 127.0.0.1")
