"""Records of processes, for locks and job histories, and whether a recorded process is still running."""

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
from retrieval.util.sanitize import redact_arguments

BOOT, PROCESSES = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")


def this_process() -> dict[str, Any]:
    """A record of this process for other processes to read; secrets on the command line are hidden."""
    return {
        "pid": os.getpid(),
        "process_started": start_time(os.getpid()),
        "command": shlex.join(redact_arguments(sys.argv)),
        "host": socket.gethostname(),
        "place": pid_scope(),
        "since": utc_now(),
    }


def pid_scope() -> str:
    """Host, boot and PID namespace: two process ids can be compared only within one.

    Containers may have their host's name and still number their processes separately.
    """
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(BOOT.read_text().strip())
    with contextlib.suppress(OSError):
        parts.append(str(PROCESSES.readlink()))
    return " ".join(parts)


def describe_process(record: Mapping[str, Any]) -> str:
    """The process in words, for a message; raises KeyError for a record without the fields of `this_process`."""
    return f"`{record['command']}` (pid {record['pid']} on {record['host']}, since {record['since']})"


def is_dead(record: Mapping[str, Any]) -> bool:
    """Whether the process is certainly dead: it ran here, and its id is now free or belongs to another process.

    Records of older versions have no `process_started` and are judged by the id alone. Raises KeyError as
    `describe_process`.
    """
    import psutil

    if record["place"] != pid_scope():
        return False
    pid = int(record["pid"])
    if not psutil.pid_exists(pid):
        return True
    recorded, running = record.get("process_started"), start_time(pid)
    return recorded is not None and running is not None and recorded != running


def start_time(pid: int) -> float | None:
    """When a process started, which tells it from a later one of the same id; None if the system does not report it.

    On Linux in ticks since boot: psutil adds the boot time, which changes when the clock is set, so that a running
    holder would look dead. Elsewhere in seconds since 1970, as the system recorded them.
    """
    try:
        if (stat := Path(f"/proc/{pid}/stat")).exists():
            return float(stat.read_text("utf-8", "replace").rpartition(")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return None
    import psutil  # takes longer than the rest of a start's locking

    try:
        return float(psutil.Process(pid).create_time())
    except (OSError, psutil.Error):
        return None


def read_clock() -> float:
    """Seconds on a monotonic clock that also counts while the machine sleeps, where the system has one.

    `time.monotonic` stops during sleep on Linux, and on macOS, where CLOCK_MONOTONIC does not.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
    return time.monotonic() if clock is None else time.clock_gettime(clock)
