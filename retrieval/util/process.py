"""Who holds a lock or runs a job: what a process writes down of itself, and whether it still runs."""

import contextlib
import os
import shlex
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrieval.schema.records import utc_now
from retrieval.util.sanitize import redacted_arguments

BOOT, PROCESSES = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")


def this_process() -> dict[str, Any]:
    """A record of this process, for others to read: it holds no secret of the command line."""
    return {
        "pid": os.getpid(),
        "process_started": started(os.getpid()),
        "command": shlex.join(redacted_arguments(sys.argv)),
        "host": socket.gethostname(),
        "place": place(),
        "since": utc_now(),
    }


def place() -> str:
    """Where a process id means something: containers may bear their host's name and count on their own."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(BOOT.read_text().strip())
    with contextlib.suppress(OSError):
        parts.append(str(PROCESSES.readlink()))
    return " ".join(parts)


def in_words(record: Mapping[str, Any]) -> str:
    """For a message; raises KeyError for a record that is not ours."""
    return f"`{record['command']}` (pid {record['pid']} on {record['host']}, since {record['since']})"


def is_dead(record: Mapping[str, Any]) -> bool:
    """True only where it is certain: the process ran here, and its id is nobody's now, or another process's.

    A record without `process_started`, which older versions wrote, is judged by the id alone. Raises KeyError as
    `in_words`.
    """
    import psutil

    if record["place"] != place():
        return False
    pid = int(record["pid"])
    if not psutil.pid_exists(pid):
        return True
    then, now = record.get("process_started"), started(pid)
    return then is not None and now is not None and then != now


def started(pid: int) -> float | None:
    """When a process began, which tells it from a later one of the same id; None where the system does not say.

    On Linux in ticks since the machine was booted: psutil adds the time of the boot, which moves when the clock is set,
    and a holder that lives would then look dead. Elsewhere in seconds since 1970, as the system noted them down.
    """
    import psutil

    try:
        if (stat := Path(f"/proc/{pid}/stat")).exists():
            return float(stat.read_text("utf-8", "replace").rpartition(")")[2].split()[19])
        return float(psutil.Process(pid).create_time())
    except (OSError, IndexError, ValueError, psutil.Error):
        return None


def now() -> float:
    """Seconds on a clock that nobody sets and that goes on while the machine sleeps, where the system has one.

    `time.monotonic` stands still meanwhile on Linux (and on macOS, where CLOCK_MONOTONIC does not).
    """
    clock = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
    return time.monotonic() if clock is None else time.clock_gettime(clock)
