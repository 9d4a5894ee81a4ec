"""What an ingest works on, in this process or on a Ray cluster."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from retrieval.ingest.ledger import Ledger, LedgerRow
from retrieval.ingest.options import IngestOptions
from retrieval.ingest.summary import IngestSummary
from retrieval.model.encoder_process import ImageEncoder
from retrieval.sources import Entry, Source
from retrieval.store.base import Held, Store
from retrieval.util.reporting import ignore

ReportSummary = Callable[[IngestSummary], None]
"""Called after each batch with the counts so far."""
ReportRefused = Callable[[list[LedgerRow]], None]
"""Called with the ledger's rows of refused images, including those refused in earlier runs."""


class Listing(NamedTuple):
    """A source, and the images that it lists."""

    source: Source
    entries: Iterator[Entry]


@dataclass(frozen=True, slots=True)
class Target:
    """The collection to fill.

    held: the lock of its alias
    encoder: makes its embeddings
    ledgers: folder for the records of refused images
    """

    store: Store
    held: Held
    alias: str
    collection: str
    encoder: ImageEncoder
    ledgers: Path


@dataclass(frozen=True, slots=True)
class OtherCollections:
    """Other collections from which users' fields, and perhaps embeddings, of the images are taken over.

    like: its users' fields take precedence over those of the collection to fill
    same_model: whether the embeddings of `like` are by the same model, so that they can be copied
    left: searched, in this order, for the users' fields of images that no other collection holds
    """

    like: str | None = None
    same_model: bool = False
    left: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class IngestRun:
    """What is stored where, the images that were refused, and the counts so far.

    collection: the one to fill; empty where a dry run finds none
    ledger: images refused before, and in this run
    summary: updated during the run
    """

    store: Store
    collection: str
    sources: Sequence[Source]
    options: IngestOptions
    ledger: Ledger
    summary: IngestSummary
    others: OtherCollections = OtherCollections()
    report_refused: ReportRefused = ignore
