"""One pass over the sources: pictures in, points out. `job.ingest` is the whole of it."""

from retrieval.ingest.encoder import LateEncoder
from retrieval.ingest.job import ingest
from retrieval.ingest.options import Options
from retrieval.ingest.summary import Summary

__all__ = ["LateEncoder", "Options", "Summary", "ingest"]
