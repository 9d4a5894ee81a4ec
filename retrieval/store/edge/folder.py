"""The lock on the embedded engine's folder, for one process at a time. Edge's own lock does not name its holder."""

import contextlib
import json
from pathlib import Path
from typing import Any

import filelock

from retrieval.errors import Locked, StoreDamaged, StoreUnavailable
from retrieval.util.files import to_json_text
from retrieval.util.process import describe_process, is_dead, this_process

LOCK_SECONDS = 5.0
"""How long to wait for the folder: long enough for a quick search to end, not for a job."""


class FolderLock:
    """Exclusive use of a folder, from construction to `release`; tells others who holds it."""

    holder = ""

    def __init__(self, root: Path, seconds: float = LOCK_SECONDS) -> None:
        """Raises Locked naming the holder, StoreUnavailable if the folder cannot be created."""
        self._holder = root / "holder.json"
        try:
            root.mkdir(parents=True, exist_ok=True)
            self._lock = filelock.FileLock(root / "lock", thread_local=False)  # released by whichever thread closes
            self._lock.acquire(timeout=seconds, poll_interval=0.05)
            self._holder.write_text(to_json_text(this_process()), "utf-8")  # not synced: it matters while this runs
        except filelock.Timeout as error:
            raise Locked(
                f"{root} is in use by {_name_holder(self._holder)}",
                hint="try again when that is done, or use a server (QDRANT_URL) to share one collection",
            ) from error
        except OSError as error:
            raise StoreUnavailable(
                f"{root} cannot be used: {error}", hint="set RETRIEVAL_HOME to another folder"
            ) from error

    def check(self) -> None:
        """Nothing to check: the operating system keeps the lock as long as the process lives."""

    def release(self) -> None:
        """Let another process use the folder."""
        with contextlib.suppress(OSError):
            self._holder.unlink()
        self._lock.release()


def _name_holder(holder: Path) -> str:
    """The holder in words; a dead process's record is ignored."""
    try:
        who = json.loads(holder.read_text("utf-8"))
        return "another process" if is_dead(who) else describe_process(who)
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def read_json(path: Path) -> Any:
    """Read a file that `write_json` wrote; raises StoreDamaged if it cannot be read or is not JSON."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StoreDamaged(
            f"{path} cannot be read: {error}", hint="delete its folder and ingest again, or restore it"
        ) from error
