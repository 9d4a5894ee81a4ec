"""What a run of ingest works on, whoever does the work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrieval.ingest.ledger import Ledger, LedgerRow
from retrieval.ingest.options import IngestOptions
from retrieval.ingest.summary import IngestSummary
from retrieval.model.encoder_process import ImageEncoder
from retrieval.sources import Source
from retrieval.store.base import Held, Store
from retrieval.util.reporting import ignore

ReportSummary = Callable[[IngestSummary], None]
"""Called after each batch with the counts so far."""
ReportRefused = Callable[[list[LedgerRow]], None]
"""Called with the ledger's rows of images that were refused, old ones too."""


@dataclass(frozen=True, slots=True)
class Target:
    """The collection to fill.

    held: the lock of its alias
    encoder: makes its codes
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
    """Other collections that know something of the images.

    like: has the last word on the user's fields of the images that it holds
    same_model: whether the codes of `like` are by the same model, so that they can be copied
    left: collections that are asked, in this order, for the user's fields of images that no other holds
    """

    like: str | None = None
    same_model: bool = False
    left: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class IngestRun:
    """What is to be stored where, and the books: what was refused before, what was done.

    collection: the one to fill; empty where a dry run finds none
    ledger: images refused before, and in this run
    summary: counted while the run goes
    """

    store: Store
    collection: str
    sources: Sequence[Source]
    options: IngestOptions
    ledger: Ledger
    summary: IngestSummary
    others: OtherCollections = OtherCollections()
    report_refused: ReportRefused = ignore
