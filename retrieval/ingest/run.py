"""What a run of ingest works on, whoever does the work."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from retrieval.ingest.encoder import Encoding
from retrieval.ingest.ledger import Ledger, LedgerRow
from retrieval.ingest.options import IngestOptions
from retrieval.ingest.plan import Planner
from retrieval.ingest.summary import Summary
from retrieval.sources import Source
from retrieval.store.base import Held, Store


@dataclass(frozen=True, slots=True)
class Target:
    """What a run fills: a collection of the encoder's codes, whose alias's lock is held.

    ledgers: folder for the records of refused images.
    """

    store: Store
    held: Held
    alias: str
    collection: str
    encoder: Encoding
    ledgers: Path


@dataclass(frozen=True, slots=True)
class IngestRun:
    """The target, what fills it, and the books: what is left to do, what was refused, what was done.

    note_refused: told of the ledger's rows of images that were refused, old ones too.
    """

    target: Target
    sources: Sequence[Source]
    options: IngestOptions
    planner: Planner
    ledger: Ledger
    summary: Summary
    note_refused: Callable[[list[LedgerRow]], None]
