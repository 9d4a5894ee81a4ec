"""Re-index: a new collection beside the live one, checked, swapped in one step, and back."""

from retrieval.reindex.job import STEPS, Step, preview, reindex
from retrieval.reindex.options import Options
from retrieval.reindex.outcome import Outcome
from retrieval.reindex.rollback import rollback

__all__ = ["STEPS", "Options", "Outcome", "Step", "preview", "reindex", "rollback"]
