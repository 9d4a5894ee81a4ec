"""The engine behind a Qdrant server or a cluster: the only package that imports `qdrant_client`."""
