"""A worker of a distributed ingest: takes a page of a source's listing, returns the result. Does not import Ray."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from retrieval.config import Settings, load_settings
from retrieval.ingest.batches import BatchEncoder, Item, choose_batch_size, write_batch
from retrieval.ingest.context import IngestRun, OtherCollections
from retrieval.ingest.ledger import Ledger
from retrieval.ingest.options import IngestOptions
from retrieval.ingest.plan import Planner
from retrieval.ingest.summary import WORK, IngestSummary
from retrieval.model.encoder_process import ImageEncoder
from retrieval.model.resolve import make_encoder
from retrieval.model.saved_models import SavedModel
from retrieval.sources import Entry, Source, open_source
from retrieval.sources.read import Refused, read_images, read_serially
from retrieval.store import open_server

BATCHES = 4
"""One Ray batch equals this many local batches; fewer requests gave 7% more throughput."""
Rows = list[list[Any]]
"""`[key, bytes, mtime_ns, label, fetch, fields]` of each image: entries as they are sent to another machine. `fetch` is
None where it would hold the source, which the machine opens itself."""


def pack_entries(entries: Sequence[Entry], source: Source) -> Rows:
    """A page of the source's listing as it is sent."""
    return [[e.key, e.bytes, e.mtime_ns, e.label, e.fetch if source.portable else None, e.fields] for e in entries]


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """What is needed to open a source on another machine, where its path or URL must mean the same."""

    name: str
    spec: str
    labels: bool

    def open(self, settings: Settings) -> Source:
        """Open the source. Raises SourceError if it cannot be reached."""
        return open_source(self.spec, settings, name=self.name, labels=self.labels)


@dataclass(frozen=True, slots=True)
class WorkerJob:
    """What every worker is given.

    holder: of the alias's lock
    ledger: the images refused before
    others: other collections to look up images in
    """

    settings: Settings
    alias: str
    collection: str
    holder: str
    model: SavedModel
    specs: dict[str, SourceSpec]
    options: IngestOptions
    ledger: Ledger
    others: OtherCollections


@dataclass(slots=True)
class PageResult:
    """The result of a page.

    counts: fields of IngestSummary, by name
    refused: `[key, bytes, mtime_ns, reason, lasting, again, held]` of each
    settled: keys of images that were refused before and are stored now
    contents: first 8 bytes of each encoded SHA-256, in hexadecimal
    """

    source: str
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(WORK, 0))
    refused: list[list[Any]] = field(default_factory=list)
    settled: list[str] = field(default_factory=list)
    contents: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "PageResult":
        """Parse what `to_json` wrote."""
        return cls(**json.loads(text))


class Worker:
    """Opens the store, the model and each source once, and then processes pages. Only for a server.

    careful: decode in a separate process, because this worker died before, and an image may have caused it
    """

    def __init__(self, job: WorkerJob, *, careful: bool = False) -> None:
        """Connect to the server, with the $QDRANT_API_KEY of this machine. Raises UsageError, ModelError."""
        self._careful = careful
        self._job, self._settings = job, job.settings
        self._store = open_server(job.settings.qdrant_url or "", load_settings())  # with the key of this machine
        self._lock = self._store.join_lock(job.alias, job.holder)
        self._encoder: ImageEncoder = make_encoder(job.settings, job.model)
        self._sources: dict[str, Source] = {}

    def work(self, source: str, rows: Rows) -> PageResult:
        """Compare, read, encode and write a page. It may be repeated, and then writes the same points.

        Raises Locked when another job has taken over the lock, BadCode, StoreUnavailable, SourceError.
        """
        job = self._job
        if source not in self._sources:
            self._sources[source] = job.specs[source].open(self._settings)
        read = self._sources[source].read
        entries = [
            Entry(source, key, size, time, label, fetch or partial(read, key), fields=fields)
            for key, size, time, label, fetch, fields in rows
        ]
        run = IngestRun(
            self._store,
            job.collection,
            (),
            job.options,
            job.ledger,
            IngestSummary(job.alias, job.collection),
            job.others,
        )
        planner, coder = Planner(run), BatchEncoder(run, self._encoder)
        result = PageResult(source)
        config = self._encoder.config
        page = planner.plan_page(entries)
        items: Iterator[Item] = (
            read_images(page, config.shape, workers=1, portable=False)
            if self._careful
            else read_serially(page, config.shape)
        )
        contents = []
        for batch in coder.make_batches(items, BATCHES * choose_batch_size(config, job.options)):
            self._lock.check()
            write_batch(run, batch)
            result.refused += [[*pack_entry(r), r.reason, r.lasting, r.again, r.held] for r in batch.refused]
            result.settled += [entry.key for entry in batch.entries if job.ledger.has_row(entry)]
            contents += [sha[:16] for sha in batch.encoded]
        result.counts = {name: getattr(run.summary, name) for name in WORK}
        result.contents = "".join(contents)
        return result


def pack_entry(refused: Refused) -> list[Any]:
    """`[key, bytes, mtime_ns]`."""
    return [refused.entry.key, refused.entry.bytes, refused.entry.mtime_ns]
