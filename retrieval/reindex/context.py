"""The context of a re-index, from taking the lock to the last step."""

from collections.abc import Callable
from dataclasses import dataclass

from retrieval.config import Settings
from retrieval.reindex.options import ReindexOptions
from retrieval.reindex.outcome import ReindexOutcome
from retrieval.store.base import Held, Store


@dataclass(frozen=True, slots=True)
class ReindexRun:
    """The engine, the options, and what has been done so far.

    held: the lock of the alias
    outcome: updated during the run; it names the alias, the live collection and the new one
    tell: called with the name of each step that begins
    """

    store: Store
    held: Held
    settings: Settings
    options: ReindexOptions
    outcome: ReindexOutcome
    tell: Callable[[str], None]
