"""The embedded engine, in a folder of one process: the only package that imports `qdrant_edge`."""
