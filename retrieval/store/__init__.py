"""Where codes live: one interface, two engines. `open_store` picks the one that the settings ask for."""

import contextlib

from retrieval.config import Settings
from retrieval.store.base import Store


def open_store(settings: Settings) -> contextlib.AbstractContextManager[Store]:
    """The server when `qdrant_url` is set, else the embedded engine; closed when the block ends.

    Raises Locked when another process holds the embedded folder, UsageError for a URL that cannot be used.
    """
    if settings.qdrant_url is None:
        from retrieval.store.edge import EdgeStore

        return contextlib.closing(EdgeStore(settings.embedded))
    from retrieval.store.server import ServerStore

    key = settings.qdrant_api_key
    return contextlib.closing(ServerStore(settings.qdrant_url, key.get_secret_value() if key else None))
