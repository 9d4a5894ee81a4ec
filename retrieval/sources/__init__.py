"""Where images come from: folders, archives and data sets, all behind one small interface."""

from retrieval.sources.base import Entry, Source
from retrieval.sources.open import open_source

__all__ = ["Entry", "Source", "open_source"]
