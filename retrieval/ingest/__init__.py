"""One pass over the sources: images in, points out. `job.ingest` is the entry."""
