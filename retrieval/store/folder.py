"""The embedded engine's folder: one process at a time owns it. Edge itself has no lock that names its holder."""

import contextlib
import json
from pathlib import Path
from typing import Any

import filelock

from retrieval.errors import Locked, StoreDamaged, StoreUnavailable
from retrieval.files import write_json
from retrieval.process import in_words, is_dead, this_process

LOCK_SECONDS = 5.0
"""Two quick searches may overlap; a long job may not be waited for."""


class FolderLock:
    """Exclusive use of a folder, from construction to `release`; others are told who holds it."""

    holder = ""

    def __init__(self, root: Path, seconds: float = LOCK_SECONDS) -> None:
        """Raises Locked naming the holder, StoreUnavailable for a folder that cannot be made."""
        self._holder = root / "holder.json"
        try:
            root.mkdir(parents=True, exist_ok=True)
            self._lock = filelock.FileLock(root / "lock", thread_local=False)  # released by whichever thread closes
            self._lock.acquire(timeout=seconds, poll_interval=0.05)
            write_json(self._holder, this_process())
        except filelock.Timeout as error:
            raise Locked(
                f"{root} is in use by {_name_holder(self._holder)}; try again when that is done, or use a server"
                " (QDRANT_URL) to share one collection"
            ) from error
        except OSError as error:
            raise StoreUnavailable(f"{root} cannot be used: {error}; set RETRIEVAL_HOME to another folder") from error

    def check(self) -> None:
        """`Held`: the system takes the lock away from nobody who lives."""

    def release(self) -> None:
        """Let the next one in."""
        with contextlib.suppress(OSError):
            self._holder.unlink()
        self._lock.release()


def _name_holder(holder: Path) -> str:
    """The holder in words; a record that a dead process left behind is not believed."""
    try:
        who = json.loads(holder.read_text("utf-8"))
        return "another process" if is_dead(who) else in_words(who)
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"


def read_json(path: Path) -> Any:
    """Read a file that `write_json` wrote; raises StoreDamaged when it is not JSON or cannot be read."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StoreDamaged(
            f"{path} cannot be read: {error}; delete its folder and ingest again, or restore it"
        ) from error
