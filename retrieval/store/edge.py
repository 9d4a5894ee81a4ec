"""The embedded engine: Qdrant Edge in this process, one folder, one owner.

Edge knows shards only: a collection is a folder, the aliases are one file, a lock keeps other processes out.
"""

import contextlib
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import qdrant_edge as edge
from jaxtyping import Float32

from retrieval.files import sync_folder, write_json
from retrieval.records import CollectionMeta, Filter, Hit, Match, Payload, Point
from retrieval.store.base import Condition, Held, checked
from retrieval.store.checks import check_alias, check_exists, check_name, check_new, check_queries, check_unused
from retrieval.store.folder import LOCK_SECONDS, FolderLock, read_json
from retrieval.store.nearest import nearest
from retrieval.store.shard import RESERVE_BYTES, Shard


class EdgeStore:
    """`Store` on a folder: `lock`, `holder.json`, `aliases.json`, `collections/<name>/`."""

    engine = "embedded"

    def __init__(self, root: Path, *, lock_seconds: float = LOCK_SECONDS) -> None:
        """Take the folder; raises Locked when another process has it."""
        self.location = str(root)
        self._collections, self._aliases = root / "collections", root / "aliases.json"
        self._open: dict[str, Shard] = {}
        self._opening = threading.Lock()
        self._lock = FolderLock(root, lock_seconds)
        try:
            self._collections.mkdir(exist_ok=True)
            for killed in (*self._collections.glob(".new-*"), *self._collections.glob(".drop-*")):
                shutil.rmtree(killed)
        except BaseException:
            self._lock.release()
            raise

    def check(self) -> None:
        """Open and verify every collection; raises StoreDamaged."""
        self.aliases()
        for collection in self.collections():
            self._shard(collection).count()

    def create_collection(self, collection: str, meta: CollectionMeta) -> None:
        """Make an empty collection; raises StoreError when the name is taken."""
        check_new(self, collection)
        Shard.create(self._collections / collection, meta)

    def drop_collection(self, collection: str) -> None:
        """Remove a collection; raises StoreError while any alias points at it."""
        check_unused(self, collection)
        folder = self._collections / collection
        with self._opening:
            if shard := self._open.pop(collection, None):
                shard.close()
            doomed = folder.rename(folder.with_name(f".drop-{collection}"))
        sync_folder(self._collections)
        shutil.rmtree(doomed)

    def collections(self) -> list[str]:
        """Names of all collections, sorted."""
        return sorted(f.name for f in self._collections.iterdir() if f.is_dir() and f.name[0] != ".")

    def aliases(self) -> dict[str, str]:
        """Alias → collection; an alias whose collection's folder was deleted is gone with it."""
        known: dict[str, str] = read_json(self._aliases) if self._aliases.exists() else {}
        present = set(self.collections())
        return {alias: target for alias, target in known.items() if target in present}

    def move_alias(self, alias: str, collection: str) -> None:
        """Point the alias at the collection in one step."""
        check_alias(self, alias, collection)
        write_json(self._aliases, {**self.aliases(), alias: collection})

    def lock(self, alias: str) -> contextlib.AbstractContextManager[Held]:
        """Held already: the folder is this process's alone."""
        check_name(alias)
        return contextlib.nullcontext(self._lock)

    def condition(self, collection: str) -> Condition:
        """What can be opened and searched is whole; raises StoreDamaged."""
        self.query(collection, np.zeros((1, self.metadata(collection).dim), np.float32), 1)
        return Condition(settled=True)

    def room(self, collection: str) -> tuple[int, int]:
        """Bytes of its folder, and bytes free beyond what Edge needs to live."""
        check_exists(self, collection)
        folder = self._collections / collection
        taken = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        return taken, max(0, shutil.disk_usage(folder).free - RESERVE_BYTES)

    def metadata(self, collection: str) -> CollectionMeta:
        """What the collection says of itself."""
        return self._shard(collection).meta

    def set_metadata(self, collection: str, meta: CollectionMeta) -> None:
        """Replace the metadata."""
        self._shard(collection).set_meta(meta)

    def upsert(self, collection: str, points: Sequence[Point]) -> None:
        """Write points; all of them are synced to disk when it returns."""
        shard = self._shard(collection)
        shard.upsert(list(checked(points, shard.meta.dim)))

    def set_payload(self, collection: str, payloads: Mapping[str, Payload]) -> None:
        """Replace whole payloads by point id; raises StoreError for an id that is not there."""
        self._shard(collection).set_payloads(dict(payloads))

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        """Remove points by id."""
        self._shard(collection).delete(ids)

    def retrieve(self, collection: str, ids: Sequence[str], *, codes: bool = False) -> dict[str, Point]:
        """Points by id; missing ids are not in the answer."""
        shard = self._shard(collection)
        with shard.reading():
            return {p.id: p for p in map(_point, shard.edge.retrieve(list(ids), True, codes))}

    def scroll(
        self, collection: str, where: Filter | None = None, *, codes: bool = False, page: int = 1000
    ) -> Iterator[list[Point]]:
        """All points in id order, a page at a time."""
        shard, start = self._shard(collection), None
        while True:
            request = edge.ScrollRequest(
                offset=start, limit=page, filter=_filter(where), with_payload=True, with_vector=codes
            )
            with shard.reading():
                records, start = shard.edge.scroll(request)
            if records:
                yield [_point(record) for record in records]
            if start is None:
                return

    def count(self, collection: str, where: Filter | None = None) -> int:
        """Exact number of points."""
        return self._shard(collection).count(_filter(where))

    def query(
        self,
        collection: str,
        codes: Float32[np.ndarray, "q d"],
        k: int,
        where: Sequence[Filter | None] | None = None,
    ) -> list[list[Hit]]:
        """The k nearest of each code, exactly, nearest first, ties by id."""
        shard, filters = self._shard(collection), where or [None] * len(codes)
        check_queries(collection, codes, shard.meta.dim, k, len(filters))

        def ask(queries: Sequence[int], limit: int) -> list[list[Hit]]:
            requests = [
                edge.QueryRequest(
                    limit=limit,
                    query=edge.Query.Nearest(codes[i].tolist()),
                    filter=_filter(filters[i]),
                    with_payload=True,
                )
                for i in queries
            ]
            with shard.reading():
                answers = shard.edge.query_batch(edge.QueryBatchRequest(requests))
            return [[Hit(str(p.id), p.score, p.payload or {}) for p in answer] for answer in answers]

        return nearest(ask, len(codes), k)

    def close(self) -> None:
        """Flush and close every collection, and let the folder go."""
        with contextlib.ExitStack() as last:
            last.callback(self._lock.release)
            while self._open:
                last.callback(self._open.popitem()[1].close)

    def _shard(self, collection: str) -> Shard:
        with self._opening:  # a shard opened twice would have two write-ahead logs
            if collection not in self._open:
                check_exists(self, collection)
                self._open[collection] = Shard(self._collections / collection)
            return self._open[collection]


def _filter(where: Filter | None) -> edge.Filter | None:
    if where is None:
        return None

    def conditions(matches: Sequence[Match]) -> list[Any]:
        return [edge.FieldCondition(m.field, match=edge.MatchAny(list(m.any_of))) for m in matches]

    return edge.Filter(must=conditions(where.must), must_not=conditions(where.must_not))


def _point(record: edge.Record) -> Point:
    code = None if record.vector is None else np.asarray(record.vector, np.float32)
    return Point(str(record.id), code, record.payload or {})
