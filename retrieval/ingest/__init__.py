"""One pass over the sources: pictures in, points out. `job.ingest` is the whole of it."""
