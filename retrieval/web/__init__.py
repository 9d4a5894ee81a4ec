"""The HTTP service: an API, a page, pictures by id, health and metrics."""
