"""An ingest on a Ray cluster: what the driver hands out, and what the workers do."""
