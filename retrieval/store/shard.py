"""One embedded collection: an Edge shard, its metadata, and the manifest that tells damage from health.

Edge opens a damaged folder without a word and with fewer points. The manifest says how many there must be:
exactly `count` when `clean`, at least `count` after a process that wrote was killed.
"""

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import qdrant_edge as edge

from retrieval.errors import RetrievalError, StoreDamaged, StoreError
from retrieval.files import sync_folder, write_json
from retrieval.records import CollectionMeta, Payload, Point
from retrieval.store import base
from retrieval.store.checks import check_same_space
from retrieval.store.folder import read_json
from retrieval.store.writes import batches, payload_batches, size_of

RESERVE_BYTES = 256 * 2**20
"""Left free on the disk: Edge grows files by 32 MB, and a full disk kills the process (SIGBUS)."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What the shard must hold; kept in `manifest.json` beside it."""

    model: str
    dim: int
    distance: str
    count: int = 0
    clean: bool = True


@contextlib.contextmanager
def translate_errors(what: str, error: type[StoreError]) -> Iterator[None]:
    """Turn whatever Edge raises, a Rust panic included, into one of our errors."""
    try:
        yield
    except RetrievalError:
        raise
    except Exception as problem:  # Edge raises nothing narrower
        raise error(f"{what}: {' '.join(str(problem).split())}") from problem
    except BaseException as problem:
        if type(problem).__name__ != "PanicException":
            raise
        raise error(f"{what}: Edge panicked: {' '.join(str(problem).split())}") from problem


class Shard:
    """An open collection. Reads raise StoreDamaged when the folder turns out to be broken."""

    def __init__(self, folder: Path) -> None:
        """Open and check; raises StoreDamaged."""
        self.folder = folder
        meta, manifest = read_json(folder / "meta.json"), read_json(folder / "manifest.json")
        try:  # all that lies here was made by this program
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
        """Build beside its place and rename, so that a crash leaves nothing that looks like a collection."""
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
        """Replace the metadata; raises StoreError when it claims another model or dimension."""
        check_same_space(self.folder.name, self.meta, meta)
        write_json(self.folder / "meta.json", meta.to_json())
        self.meta = meta

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """A read that Edge refuses means a broken folder: what we ask was checked before."""
        return translate_errors(str(self._damaged("Edge cannot read it")), StoreDamaged)

    def count(self, where: edge.Filter | None = None) -> int:
        """Exact number of points."""
        with self.reading():
            return self.edge.count(edge.CountRequest(exact=True, filter=where))

    def upsert(self, points: Sequence[Point]) -> None:
        """Write checked points; synced to disk when it returns."""
        with self._writing(at_least=self._manifest.count):
            for batch in batches(points, self.meta.dim):
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
            for batch in payload_batches(payloads):
                ensure_space(self.folder, sum(4096 + size_of(payload) for _, payload in batch))
                for point, payload in batch:
                    self.edge.update(edge.UpdateOperation.overwrite_payload([point], payload))

    def delete(self, ids: Sequence[str]) -> None:
        """Remove points; synced to disk when it returns."""
        with self._writing(at_least=max(0, self._manifest.count - len(ids))):
            self.edge.update(edge.UpdateOperation.delete_points(list(ids)))

    def close(self) -> None:
        """Flush, close, and say in the manifest what is there."""
        with translate_errors(f"{self.folder} cannot be closed", StoreError):
            if not self._manifest.clean:
                self.edge.flush()
            count = self.count()
            self.edge.close()
        self._declare(count, clean=True)

    @contextlib.contextmanager
    def _writing(self, at_least: int) -> Iterator[None]:
        """Until the write is synced, the manifest promises only what no crash can take away."""
        self._declare(at_least, clean=False)
        with translate_errors(f"{self.folder} cannot be written", StoreError):
            yield
            self.edge.flush()
        self._declare(self.count(), clean=False)

    def _declare(self, count: int, *, clean: bool) -> None:
        manifest = dataclasses.replace(self._manifest, count=count, clean=clean)
        if manifest != self._manifest:
            write_json(self.folder / "manifest.json", dataclasses.asdict(manifest))
            self._manifest = manifest

    def _verify(self) -> None:
        """Compare with the manifest, and ask for the nearest point: a lost vector file shows only there."""
        said, found = self._manifest, self.count()
        if (said.model, said.dim, said.distance) != (self.meta.model, self.meta.dim, self.meta.distance):
            raise self._damaged("its metadata and its manifest speak of different models")
        if found < said.count or (said.clean and found != said.count):
            at_least = "" if said.clean else "at least "
            raise self._damaged(f"it holds {found:,} points, its manifest says {at_least}{said.count:,}")
        probe = edge.QueryRequest(limit=1, query=edge.Query.Nearest([0.0] * said.dim))
        with self.reading():
            answer = self.edge.query(probe)
        if len(answer) != min(1, found):
            raise self._damaged(f"a search among its {found:,} points finds none")

    def _damaged(self, how: str) -> StoreDamaged:
        return StoreDamaged(f"{self.folder} is damaged: {how}; delete that folder and ingest again, or restore it")


def ensure_space(folder: Path, size: int) -> None:
    """Raise StoreError unless the disk has room for `size` bytes in every file that grows, and a reserve."""
    free, needed = shutil.disk_usage(folder).free, RESERVE_BYTES + 4 * size
    if free < needed:
        raise StoreError(
            f"{folder}: {free / 2**20:,.0f} MiB free on its disk, {needed / 2**20:,.0f} MiB needed to write;"
            " make room, or set RETRIEVAL_HOME to another disk"
        )
