"""The HTTP service: an API, a page, images by id, health and metrics."""
