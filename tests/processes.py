"""Real processes that start at once: forked from one that has imported what takes two seconds to import.

A test pays for what a process does, not for its start. Code, arguments, environment, folder, pipes, signals, exit code
and the interpreter's own end are those of `python -c`. Tests of the start itself (what is imported, the interpreter's
encoding, a terminal) and of memory start the interpreter with `subprocess`.
"""

import array
import contextlib
import functools
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Self

ROOT = Path(__file__).parents[1]
RETRIEVAL = "import sys; sys.argv[0] = 'retrieval'; from retrieval.cli import main; main()"
"""The code of `python -m retrieval`."""
IMPORTED = (
    *("pytest", "psutil", "flax.nnx", "qdrant_client", "qdrant_edge"),
    *("retrieval.cli", "retrieval.model.encoder", "retrieval.store.qdrant.server", "retrieval.store.edge.engine"),
    *("retrieval.ingest.job", "retrieval.reindex.job", "retrieval.search.run"),
)
"""Imported before the fork. Not pyarrow: its import starts a thread, and threads do not survive a fork."""


class Process:
    """A running process, with what the tests use of `subprocess.Popen`; its pipes carry text."""

    def __init__(
        self,
        code: str,
        *arguments: object,
        environment: Mapping[str, str],
        folder: Path | None = None,
        own_session: bool = False,
    ) -> None:
        """Run `python -c code arguments` in the folder (default: the current one)."""
        (stdin, write), (out, stdout), (err, stderr), (status, told) = (os.pipe() for _ in range(4))
        asked = {
            "code": code,
            "arguments": [os.fspath(a) if isinstance(a, os.PathLike) else str(a) for a in arguments],
            "environment": dict(environment),
            "folder": str(folder or Path.cwd()),
            "own_session": own_session,
        }
        socket.send_fds(_origin()[0], [json.dumps(asked).encode()], [stdin, stdout, stderr, told])
        for theirs in (stdin, stdout, stderr, told):
            os.close(theirs)
        self.stdin: IO[str] = _text(write, "w")
        self.stdout: IO[str] = _text(out, "r")
        self.stderr: IO[str] = _text(err, "r")
        self.returncode: int | None = None
        self._status = status
        self.pid = self._read()

    def _read(self) -> int:
        number = array.array("q", os.read(self._status, 8))
        return number[0]

    def poll(self) -> int | None:
        """The exit code once it has ended, minus the signal's number if one ended it; None before."""
        if self.returncode is None and select.select([self._status], [], [], 0)[0]:
            self.returncode = self._read()
        return self.returncode

    def wait(self, timeout: float) -> int:
        """The exit code; raises TimeoutExpired when it does not end in so many seconds."""
        if self.returncode is None and not select.select([self._status], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(str(self.pid), timeout)
        code = self.poll()
        assert code is not None
        return code

    def communicate(self, text: str = "", timeout: float = 120) -> tuple[str, str]:
        """Send the text, read both outputs to their end, wait; raises TimeoutExpired."""
        end, found = time.monotonic() + timeout, ["", ""]

        def read(number: int, pipe: IO[str]) -> None:
            found[number] = pipe.read()

        readers = [
            threading.Thread(target=read, args=(number, pipe), daemon=True)
            for number, pipe in enumerate((self.stdout, self.stderr))
        ]
        for reader in readers:
            reader.start()
        with contextlib.suppress(BrokenPipeError):  # it has ended, or does not want to know
            self.stdin.write(text)
            self.stdin.close()
        for reader in readers:
            reader.join(max(0.0, end - time.monotonic()))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
        self.wait(max(0.0, end - time.monotonic()))
        return found[0], found[1]

    def send_signal(self, number: int) -> None:
        """To this process alone."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Close its pipes and wait for its end, as Popen does; after an error of the test, kill it."""
        if error:
            self.kill()
        for pipe in (self.stdout, self.stderr, self.stdin):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        self.wait(120)
        os.close(self._status)


def _text(pipe: int, mode: str) -> IO[str]:
    """A pipe as text that keeps every byte."""
    return open(pipe, mode, encoding="utf-8", errors="surrogateescape", newline="")


_STARTING = threading.Lock()


def _origin() -> "tuple[socket.socket, subprocess.Popen[bytes]]":
    """What to send requests to, one for all threads."""
    with _STARTING:
        return _start_origin()


@functools.cache
def _start_origin() -> "tuple[socket.socket, subprocess.Popen[bytes]]":
    """Start the process to fork from, which ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    code = f"from tests.processes import serve; exec(serve({theirs.fileno()}))"
    origin = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
        start_new_session=True,
    )
    theirs.close()
    return ours, origin


def serve(number: int) -> str:
    """In the process to fork from: return, in each fork, the code that it is to run.

    number: of the socket that the requests come from; at its end the process ends.
    """
    for name in IMPORTED:
        importlib.import_module(name)
    requests = socket.socket(fileno=number)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that watch
    while True:
        data, pipes, _, _ = socket.recv_fds(requests, 2**20, 4)
        if not data:
            os._exit(0)
        if os.fork() == 0:
            break
        for pipe in pipes:
            os.close(pipe)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores Ctrl-C
    requests.close()
    *stdio, status = pipes
    asked = json.loads(data)
    if child := os.fork():
        for pipe in stdio:
            os.close(pipe)
        os.write(status, array.array("q", [child]))
        _, ended = os.waitpid(child, 0)
        os.write(status, array.array("q", [os.waitstatus_to_exitcode(ended)]))
        os._exit(0)
    for target, pipe in enumerate(stdio):
        os.dup2(pipe, target)
    for pipe in pipes:
        os.close(pipe)
    if asked["own_session"]:
        os.setsid()
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    sys.argv = ["-c", *asked["arguments"]]
    sys.path[:1] = ["", *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    sys.modules.pop("sitecustomize", None)
    with contextlib.suppress(ImportError):
        importlib.import_module("sitecustomize")  # as every interpreter does when it starts
    return str(asked["code"])
