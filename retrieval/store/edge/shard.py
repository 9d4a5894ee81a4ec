"""One embedded collection: an Edge shard, its metadata, and a manifest that reveals damage.

Edge opens a damaged folder without an error, with fewer points. The manifest records how many there must be: exactly
`count` if `clean`, at least `count` after a writing process was killed.
"""

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import qdrant_edge as edge

from retrieval.errors import RetrievalError, StoreDamaged, StoreError
from retrieval.schema.records import CollectionMeta, Payload, Point
from retrieval.store import base
from retrieval.store.edge.folder import read_json
from retrieval.store.edge.held import MOST_BYTES, HeldCodes
from retrieval.store.validation import check_same_space, size_of, split_payloads, split_points
from retrieval.util.files import sync_folder, write_json
from retrieval.util.wording import count_of

RESERVE_BYTES = 256 * 2**20
"""Disk space to leave free: Edge grows files by 32 MB, and a full disk kills the process (SIGBUS)."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What the shard must contain; stored in `manifest.json` next to it."""

    model: str
    dim: int
    distance: str
    count: int = 0
    clean: bool = True


@contextlib.contextmanager
def translate_errors(what: str, error: type[StoreError], hint: str = "") -> Iterator[None]:
    """Turn whatever Edge raises, including a Rust panic, into one of our errors."""
    try:
        yield
    except RetrievalError:
        raise
    except Exception as problem:  # Edge raises nothing narrower
        raise error(f"{what}: {' '.join(str(problem).split())}", hint=hint) from problem
    except BaseException as problem:
        if type(problem).__name__ != "PanicException":
            raise
        raise error(f"{what}: Edge panicked: {' '.join(str(problem).split())}", hint=hint) from problem


class Shard:
    """An open collection. Reads raise StoreDamaged if the folder turns out to be damaged."""

    def __init__(self, folder: Path) -> None:
        """Open and verify; raises StoreDamaged."""
        self.folder = folder
        self._held: HeldCodes | None = None
        self._writes = 0
        meta, manifest = read_json(folder / "meta.json"), read_json(folder / "manifest.json")
        try:  # this program wrote these files, so that any error means damage
            self.meta = CollectionMeta.from_json(folder.name, meta)
        except (StoreError, AttributeError, TypeError, ValueError) as error:
            raise self._damaged("its meta.json cannot be understood") from error
        try:
            self._manifest = Manifest(**manifest)
            self._manifest.count + 0  # a number
        except TypeError as error:
            raise self._damaged(f"its manifest cannot be understood: {error}") from error
        with self.reading():
            self.edge = edge.EdgeShard.load(str(folder / "shard"))
        try:
            self._verify()
        except BaseException:
            with contextlib.suppress(StoreError), self.reading():
                self.edge.close()
            raise

    @staticmethod
    def create(folder: Path, meta: CollectionMeta) -> None:
        """Create under another name and rename, so that a crash leaves nothing that looks like a collection."""
        draft = folder.with_name(f".new-{folder.name}")
        shutil.rmtree(draft, ignore_errors=True)
        (draft / "shard").mkdir(parents=True)
        ensure_space(draft, 0)
        with translate_errors(f"{folder} cannot be made", StoreError):
            vectors = edge.EdgeVectorParams(size=meta.dim, distance=getattr(edge.Distance, meta.distance))
            shard = edge.EdgeShard.create(str(draft / "shard"), edge.EdgeConfig(vectors=vectors, wal_enabled=True))
            for field, kind in base.INDEXES.items():
                index = getattr(edge.PayloadSchemaType, kind.capitalize())
                shard.update(edge.UpdateOperation.create_field_index(field, index))
            shard.flush()
            shard.close()
        write_json(draft / "meta.json", meta.to_json())
        write_json(draft / "manifest.json", dataclasses.asdict(Manifest(meta.model, meta.dim, meta.distance)))
        draft.rename(folder)
        sync_folder(folder.parent)

    def set_meta(self, meta: CollectionMeta) -> None:
        """Replace the metadata; raises StoreError if model, dimension or distance would change."""
        check_same_space(self.folder.name, self.meta, meta)
        write_json(self.folder / "meta.json", meta.to_json())
        self.meta = meta

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """Wraps reads. An error means a damaged folder, because every request is checked before."""
        damaged = self._damaged("Edge cannot read it")
        return translate_errors(damaged.message, StoreDamaged, damaged.hint)

    def held(self) -> HeldCodes | None:
        """All codes in memory until the next write; None if they are too many."""
        held, writes = self._held, self._writes
        if held is None and self.count() * self.meta.dim * 4 <= MOST_BYTES:
            with self.reading():
                held = HeldCodes.read(self.edge, self.meta.dim)
            if writes == self._writes:
                self._held = held
        return held

    def count(self, where: edge.Filter | None = None) -> int:
        """Exact number of points."""
        with self.reading():
            return self.edge.count(edge.CountRequest(exact=True, filter=where))

    def upsert(self, points: Sequence[Point]) -> None:
        """Write checked points; synced to disk when it returns."""
        with self._writing(at_least=self._manifest.count):
            for batch in split_points(points, self.meta.dim):
                payloads = sum(size_of(point.payload) for point in batch)
                ensure_space(self.folder, len(batch) * (self.meta.dim * 4 + 4096) + payloads)
                self.edge.update(
                    edge.UpdateOperation.upsert_points(
                        [edge.Point(p.id, [] if p.code is None else p.code.tolist(), p.payload) for p in batch]
                    )
                )

    def set_payloads(self, payloads: dict[str, Payload]) -> None:
        """Replace whole payloads; synced to disk when it returns."""
        with self._writing(at_least=self._manifest.count):
            for batch in split_payloads(payloads):
                ensure_space(self.folder, sum(4096 + size_of(payload) for _, payload in batch))
                for point, payload in batch:
                    self.edge.update(edge.UpdateOperation.overwrite_payload([point], payload))

    def delete(self, ids: Sequence[str]) -> None:
        """Remove points; synced to disk when it returns."""
        with self._writing(at_least=max(0, self._manifest.count - len(ids))):
            self.edge.update(edge.UpdateOperation.delete_points(list(ids)))

    def close(self) -> None:
        """Flush, close, and record in the manifest what is stored."""
        with translate_errors(f"{self.folder} cannot be closed", StoreError):
            if self._manifest.clean:  # nothing was written
                self.edge.close()
                return
            self.edge.flush()
            count = self.count()
            self.edge.close()
        self._declare(count, clean=True)

    @contextlib.contextmanager
    def _writing(self, at_least: int) -> Iterator[None]:
        """Wraps writes. Until they are synced, the manifest promises only `at_least` points, which survive a crash."""
        self._forget_held()
        self._declare(at_least, clean=False)
        with translate_errors(f"{self.folder} cannot be written", StoreError):
            try:
                yield
            finally:
                self._forget_held()
            self.edge.flush()
        self._declare(self.count(), clean=False)

    def _forget_held(self) -> None:
        self._held, self._writes = None, self._writes + 1

    def _declare(self, count: int, *, clean: bool) -> None:
        manifest = dataclasses.replace(self._manifest, count=count, clean=clean)
        if manifest != self._manifest:
            write_json(self.folder / "manifest.json", dataclasses.asdict(manifest))
            self._manifest = manifest

    def _verify(self) -> None:
        """Compare with the manifest, and search once, which alone reveals a lost vector file."""
        promised, found = self._manifest, self.count()
        if (promised.model, promised.dim, promised.distance) != (self.meta.model, self.meta.dim, self.meta.distance):
            raise self._damaged("its metadata and its manifest name different models")
        if found < promised.count or (promised.clean and found != promised.count):
            at_least = "" if promised.clean else "at least "
            raise self._damaged(f"it holds {count_of(found, 'point')}, its manifest says {at_least}{promised.count:,}")
        probe = edge.QueryRequest(limit=1, query=edge.Query.Nearest([0.0] * promised.dim))
        with self.reading():
            answer = self.edge.query(probe)
        if len(answer) != min(1, found):
            raise self._damaged(f"a search among its {count_of(found, 'point')} returns none")

    def _damaged(self, how: str) -> StoreDamaged:
        return StoreDamaged(
            f"{self.folder} is damaged: {how}", hint="delete that folder and ingest again, or restore it"
        )


def ensure_space(folder: Path, size: int) -> None:
    """Raise StoreError unless the disk has space for `size` bytes in every file that grows, and the reserve."""
    free, needed = shutil.disk_usage(folder).free, RESERVE_BYTES + 4 * size
    if free < needed:
        raise StoreError(
            f"{folder}: {free / 2**20:,.0f} MiB free on its disk, {needed / 2**20:,.0f} MiB needed to write",
            hint="make room, or set RETRIEVAL_HOME to another disk",
        )
