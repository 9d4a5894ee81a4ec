"""Faults inside a job's process, at moments that a seed means: signals, a full disk, a lost mount, a bad network."""

import contextlib
import ctypes
import os
import random
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

FILES = {"open", "os.scandir", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "socket.connect"}
"""Audit events of the interpreter that are moments for a fault, beside those before and after each write of a store."""
WRITES = ("upsert", "set_payload", "delete", "create_collection", "drop_collection", "move_alias", "set_metadata")
SIGNALS = {"SIGKILL", "SIGTERM", "SIGINT", "SIGSTOP"}
LOSSY = 0.08
"""Share of the requests that go wrong on a bad network."""
DELAY_SECONDS = 0.05
OUTAGE_SECONDS, PATIENCE_SECONDS = 0.9, 0.7
"""How long an outage lasts, and how long a job then tries, instead of two minutes: it gives up, and may be wrong."""
LEASE_SECONDS, AFTER_SECONDS = 2.0, 1.0
"""Of the server's locks, where a job is stopped for longer."""
DISK_MB = 4000
MS_REMOUNT = 32
AWAY = "unmounted"
"""Name of a folder or file that a fault takes away."""


def install(environment: Mapping[str, str]) -> None:
    """Prepare the faults that the environment names: TORTURE_FAULT, at the TORTURE_MOMENT-th event or by that seed."""
    fault, moment = environment.get("TORTURE_FAULT", ""), int(environment.get("TORTURE_MOMENT", "0"))
    if environment.get("TORTURE_LEASE"):
        from retrieval.store.qdrant import lock

        lock.LEASE_SECONDS, lock.AFTER_SECONDS = LEASE_SECONDS, AFTER_SECONDS
    if environment.get("TORTURE_CLOCK"):
        set_clock(float(environment["TORTURE_CLOCK"]))
    if fault in SIGNALS:
        at_moment(moment, lambda: os.kill(os.getpid(), signal.Signals[fault]))
    elif fault == "process":
        at_moment(moment, lambda: kill_child(moment))
    elif fault == "disk":
        disk = Path(environment["TORTURE_DISK"])
        at_moment(moment, lambda: resize_disk(disk, full=True))
    elif fault == "unmount":
        place = Path(environment["TORTURE_PLACE"])
        at_moment(moment, lambda: place.rename(place.with_name(AWAY)), place)
    elif fault == "network":
        spoil_network(random.Random(moment))
    elif fault == "outage":
        let_server_fail(abs(moment))


def at_moment(moment: int, strike: Any, place: Path | None = None) -> None:
    """Call `strike` at the `moment`-th event of this process; at a negative moment, only those around writes count.

    place: count only where this, or what is in it, is listed or opened
    """
    name_moments()
    count = 0

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if place:
            counts = event in ("open", "os.scandir") and str(arguments[0]).startswith(str(place))
        else:
            counts = event.startswith("torture.") or (moment > 0 and event in FILES)
        if counts:
            count += 1
            if count == abs(moment):
                strike()

    sys.addaudithook(hear)


def kill_child(moment: int) -> None:
    """Kill one of this process's own processes: one that decodes, the encoder's, or one of Ray's.

    Not the one by which Python keeps count of semaphores: its successor prints tracebacks, whatever the program does.
    """
    with contextlib.suppress(psutil.Error):  # it may end at the same moment
        children = psutil.Process().children(recursive=True)
        if killable := [child for child in children if "resource_tracker" not in str(child.cmdline())]:
            killable[moment % len(killable)].kill()


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


def set_clock(seconds: float) -> None:
    """Let this process's clock be ahead by so many seconds; names of collections are made by another one."""
    real = time.time
    time.time = lambda: real() + seconds


def spoil_network(rng: random.Random) -> None:
    """Lose, delay, repeat and refuse some of the requests that this process sends to a server."""
    import httpx

    send = httpx.HTTPTransport.handle_request

    def refuse(request: httpx.Request, status: int) -> httpx.Response:
        headers = {"Retry-After": "1"} if status == httpx.codes.TOO_MANY_REQUESTS and rng.random() < 0.2 else {}
        return httpx.Response(status, headers=headers, content=b"", request=request)

    def spoiled(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        if rng.random() >= LOSSY:
            return send(self, request)
        fault = rng.choice(["lose", "lose the answer", "delay", "repeat", "429", "503", "500"])
        if fault.isdigit():
            return refuse(request, int(fault))
        if fault == "lose":
            raise httpx.ConnectError("torture: lost", request=request)
        if fault == "delay":
            time.sleep(DELAY_SECONDS)
        request.read()
        answer = send(self, request)
        if fault == "lose the answer":
            answer.read()
            answer.close()
            raise httpx.ReadTimeout("torture: the answer is lost", request=request)
        if fault == "repeat":
            answer.read()
            answer.close()
            return send(self, request)
        return answer

    httpx.HTTPTransport.handle_request = spoiled  # type: ignore[method-assign]


def let_server_fail(first: int) -> None:
    """From this process's `first`-th request on, the server refuses all, for longer than this process tries."""
    import httpx

    from retrieval.store.qdrant import connection

    class Impatient(connection.TimeLimits):
        def __init__(self) -> None:
            deadlines = ("query_deadline", "job_deadline", "first_deadline")
            super().__init__(**dict.fromkeys(deadlines, PATIENCE_SECONDS))

    vars(connection)["TimeLimits"] = Impatient
    send, count, ends = httpx.HTTPTransport.handle_request, 0, 0.0

    def fail(self: httpx.HTTPTransport, request: httpx.Request) -> httpx.Response:
        nonlocal count, ends
        count += 1
        if count == first:
            ends = time.monotonic() + OUTAGE_SECONDS
        return httpx.Response(500, request=request) if time.monotonic() < ends else send(self, request)

    httpx.HTTPTransport.handle_request = fail  # type: ignore[method-assign]


def resize_disk(disk: Path, *, full: bool) -> None:
    """Leave no room on a disk in memory of our own, or give it back: its size is changed, nothing is written."""
    found = os.statvfs(disk)
    used = (found.f_blocks - found.f_bfree) * found.f_frsize
    size = used if full else DISK_MB * 2**20
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"size={max(size, 4096)}".encode()
    if libc.mount(b"none", os.fsencode(disk), b"tmpfs", MS_REMOUNT, options):
        raise OSError(ctypes.get_errno(), f"{disk} cannot be resized")
