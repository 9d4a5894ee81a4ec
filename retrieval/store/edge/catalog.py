"""The embedded engine's collections: a folder for each, a file for the aliases, and a lock on all of it."""

import contextlib
import importlib.metadata
import shutil
import threading
from pathlib import Path
from typing import Any

from retrieval.errors import StoreError
from retrieval.schema.records import CollectionMeta
from retrieval.store.base import DiskUsage, Held
from retrieval.store.edge.folder import LOCK_SECONDS, FolderLock, read_json
from retrieval.store.edge.shard import RESERVE_BYTES, Shard
from retrieval.store.validation import check_alias, check_exists, check_name, check_new, check_unused
from retrieval.util.files import disk_bytes, sync_folder, write_json


class EdgeCatalog:
    """The methods of `Store` that handle whole collections; `EdgeStore` adds those for points.

    The folder holds `lock`, `holder.json`, `aliases.json` and `collections/<name>/`.
    """

    def __init__(self, root: Path, *, lock_seconds: float = LOCK_SECONDS) -> None:
        """Open the folder for this process alone; raises Locked if another process uses it."""
        self.location = str(root)
        self._collections, self._aliases = root / "collections", root / "aliases.json"
        self._open: dict[str, Shard] = {}
        self._opening = threading.Lock()
        self._closed = False
        self._lock = FolderLock(root, lock_seconds)
        try:
            self._collections.mkdir(exist_ok=True)
            for killed in (*self._collections.glob(".new-*"), *self._collections.glob(".drop-*")):
                shutil.rmtree(killed)
        except BaseException:
            self._lock.release()
            raise

    def check(self) -> None:
        """Open and verify every collection that an alias points at; raises StoreDamaged. Others are not checked."""
        for collection in sorted({*self.aliases().values()}):
            self._shard(collection).count()

    def create_collection(self, collection: str, meta: CollectionMeta) -> None:
        """Make an empty collection; raises StoreError if it exists."""
        check_new(self, collection)
        Shard.create(self._collections / collection, meta)

    def drop_collection(self, collection: str) -> None:
        """Remove a collection; raises StoreError while any alias points at it."""
        check_unused(self, collection)
        folder = self._collections / collection
        with self._opening:
            if shard := self._open.pop(collection, None):
                with contextlib.suppress(StoreError):  # damaged since it was opened, and about to be deleted
                    shard.close()
            doomed = folder.rename(folder.with_name(f".drop-{collection}"))
        sync_folder(self._collections)
        shutil.rmtree(doomed)

    def collections(self) -> list[str]:
        """Names of all collections, sorted."""
        return sorted(f.name for f in self._collections.iterdir() if f.is_dir() and f.name[0] != ".")

    def aliases(self) -> dict[str, str]:
        """Alias → collection, without aliases whose collection's folder was deleted."""
        known: dict[str, str] = read_json(self._aliases) if self._aliases.exists() else {}
        present = set(self.collections())
        return {alias: target for alias, target in known.items() if target in present}

    def move_alias(self, alias: str, collection: str) -> None:
        """Point the alias at the collection in one step."""
        check_alias(self, alias, collection)
        write_json(self._aliases, {**self.aliases(), alias: collection})

    def lock(self, alias: str) -> contextlib.AbstractContextManager[Held]:
        """Already held: only this process uses the folder."""
        check_name(alias)
        return contextlib.nullcontext(self._lock)

    def describe(self, collection: str | None = None) -> dict[str, Any]:
        """Facts about Edge and the collection's folder.

        edge: the library's version
        bytes: what the collection takes on disk
        """
        facts: dict[str, Any] = {"edge": importlib.metadata.version("qdrant-edge-py")}
        return facts if collection is None else {**facts, "bytes": self.disk_usage(collection).taken}

    def dashboard(self) -> None:
        """Edge has no web page."""

    def disk_usage(self, collection: str) -> DiskUsage:
        """The size of the collection's folder, and the free space beyond the reserve that Edge needs."""
        check_exists(self, collection)
        folder = self._collections / collection
        return DiskUsage(disk_bytes(folder), max(0, shutil.disk_usage(folder).free - RESERVE_BYTES))

    def metadata(self, collection: str) -> CollectionMeta:
        """The collection's metadata."""
        return self._shard(collection).meta

    def set_metadata(self, collection: str, meta: CollectionMeta) -> None:
        """Replace the metadata."""
        self._shard(collection).set_meta(meta)

    def close(self) -> None:
        """Flush and close every collection, and release the folder; a call in another thread raises StoreError."""
        with self._opening, contextlib.ExitStack() as last:
            self._closed = True
            last.callback(self._lock.release)
            while self._open:
                last.callback(self._open.popitem()[1].close)

    def _shard(self, collection: str) -> Shard:
        with self._opening:  # opening a shard twice would give it two write-ahead logs
            if self._closed:
                raise StoreError(f"{self.location} has been closed", hint="open it again")
            if collection not in self._open:
                check_exists(self, collection)
                self._open[collection] = Shard(self._collections / collection)
            return self._open[collection]
