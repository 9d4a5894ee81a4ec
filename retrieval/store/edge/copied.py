"""The embedded engine for a service: it reads a copy, so that jobs can write the folder meanwhile."""

import contextlib
import logging
import secrets
import shutil
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from retrieval.errors import Locked, RetrievalError, StoreError
from retrieval.store.edge.engine import EdgeStore
from retrieval.store.edge.folder import LOCK_SECONDS, FolderLock, read_json
from retrieval.store.edge.shard import RESERVE_BYTES, Shard
from retrieval.store.validation import check_exists

LOG = logging.getLogger("retrieval.store")
COPIES = "copies"
"""The subfolder that holds the copies, one of each running service."""
LOOK_SECONDS = 1.0
"""Seconds between two looks at whether the folder was written."""
RETRY_SECONDS = 30.0
"""Seconds until another attempt after one that failed, for example because the disk is full."""
END_SECONDS = 5.0
"""Seconds that closing waits for a copy that is being made; one that takes longer is abandoned."""

Stamp = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Snapshot:
    """What was copied at one time.

    stamp: tells whether the original was written since
    shards: those that are open, by collection
    """

    folder: Path
    aliases: dict[str, str] = field(default_factory=dict)
    stamp: Stamp = ()
    shards: dict[str, Shard] = field(default_factory=dict)


class CopiedEdgeStore(EdgeStore):
    """`Store` on a copy of what one alias names; read-only.

    A thread copies it again within seconds of each job's end. Requests that are running then finish on the copy that
    they began with. While a job runs, answers come from the copy made before it.
    """

    def __init__(self, root: Path, alias: str, *, lock_seconds: float = LOCK_SECONDS) -> None:
        """Copy for the first time; raises Locked if a job has the folder, StoreError if there is no room for a copy."""
        copies = root / COPIES
        _remove_abandoned(copies)
        super().__init__(copies / secrets.token_hex(4))
        self._original, self._alias = root, alias
        self._now = Snapshot(self._collections)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="copy", daemon=True)
        try:
            self._copy(lock_seconds)
        except BaseException:
            self._remove()
            raise
        self._thread.start()

    def collections(self) -> list[str]:
        """The alias's collection."""
        return sorted(self._now.aliases.values())

    def aliases(self) -> dict[str, str]:
        """The alias, if it is there."""
        return self._now.aliases

    def lock(self, alias: str) -> NoReturn:
        """Raises StoreError: what is written to the copy would be lost."""
        raise StoreError(f"{alias} is read from a copy and cannot be written")

    def close(self) -> None:
        """Stop copying, and remove the copy."""
        self._ended.set()
        self._thread.join(END_SECONDS)
        self._remove()

    def _remove(self) -> None:
        self._now = Snapshot(self._collections)
        super().close()
        shutil.rmtree(self._collections.parent, ignore_errors=True)

    def _shard(self, collection: str) -> Shard:
        with self._opening:  # the folder is not replaced meanwhile
            if collection not in self._now.shards:
                check_exists(self, collection)
                self._now.shards[collection] = Shard(self._now.folder / collection)
            return self._now.shards[collection]

    def _follow(self) -> None:
        """Copy again whenever the original was written, until closed."""
        seconds = LOOK_SECONDS
        while not self._ended.wait(seconds):
            seconds = LOOK_SECONDS
            try:
                if self._read_stamp() != self._now.stamp:
                    self._copy(0)
            except Locked:
                pass  # a job is running
            except (RetrievalError, OSError) as error:
                LOG.warning("answers come from an older copy: %s", error)
                seconds = RETRY_SECONDS

    def _copy(self, lock_seconds: float) -> None:
        """Copy what the alias names now, open it, and answer from it. The original is locked while it is copied."""
        lock = FolderLock(self._original, lock_seconds)
        try:
            snapshot = self._take_snapshot(self._collections / secrets.token_hex(4))
        finally:
            lock.release()
        for collection in snapshot.aliases.values():
            with contextlib.suppress(StoreError):  # damaged: the request that needs it says so
                snapshot.shards[collection] = Shard(snapshot.folder / collection)
        with self._opening:
            before, self._now = self._now, snapshot
        if before.folder != self._collections:
            shutil.rmtree(before.folder, ignore_errors=True)  # Edge has its files open as long as a request reads them

    def _take_snapshot(self, folder: Path) -> Snapshot:
        collection = self._target()
        stamp = self._read_stamp()
        if collection is None:
            return Snapshot(folder, stamp=stamp)
        original = self._original / "collections" / collection
        size = sum(file.stat().st_size for file in original.rglob("*"))
        free = shutil.disk_usage(self._original).free
        if free < size + RESERVE_BYTES:
            raise StoreError(
                f"{self._original}: {free / 2**20:,.0f} MiB free on its disk,"
                f" {(size + RESERVE_BYTES) / 2**20:,.0f} MiB needed for the copy that a service reads",
                hint="make room, or set RETRIEVAL_HOME to another disk",
            )
        try:
            shutil.copytree(original, folder / collection)
        except (OSError, shutil.Error) as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise StoreError(f"{original} cannot be copied: {error}", hint="make room on the disk") from error
        return Snapshot(folder, {self._alias: collection}, stamp)

    def _target(self) -> str | None:
        """The collection that the alias names in the original, if it is there."""
        aliases = self._original / "aliases.json"
        target = read_json(aliases).get(self._alias) if aliases.exists() else None
        return target if target and (self._original / "collections" / target).is_dir() else None

    def _read_stamp(self) -> Stamp:
        """Times, numbers and sizes of the files that every write replaces."""
        names = ["aliases.json"]
        if target := self._target():
            names += [f"collections/{target}/{name}.json" for name in ("meta", "manifest")]
        found = []
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                facts = (self._original / name).stat()
                found.append((facts.st_mtime_ns, facts.st_ino, facts.st_size))
        return tuple(found)


def _remove_abandoned(copies: Path) -> None:
    """Remove copies whose service was killed: nobody holds their lock."""
    for folder in copies.glob("*"):
        try:
            lock = FolderLock(folder, 0)
        except RetrievalError:
            continue
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()
