"""Who holds a lock or runs a job: what a process writes down of itself, and whether it still runs."""

import contextlib
import os
import shlex
import socket
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrieval.outside import redacted_arguments
from retrieval.records import utc_now

BOOT, PROCESSES = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")


def this_process() -> dict[str, Any]:
    """A record of this process, for others to read: it holds no secret of the command line."""
    return {
        "pid": os.getpid(),
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
    """True only where it is certain: the process ran here, and its id is nobody's now. KeyError as `in_words`."""
    return record["place"] == place() and not alive(int(record["pid"]))


def alive(pid: int) -> bool:
    """Whether this machine runs a process of that id."""
    if os.name == "nt":  # there, signal 0 is not a question
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
