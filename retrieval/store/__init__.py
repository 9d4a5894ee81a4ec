"""Where codes live: one interface, two engines. `open_store` picks the one that the settings ask for."""

import contextlib

from retrieval.config import Settings
from retrieval.store.base import Store


def open_store(settings: Settings) -> contextlib.AbstractContextManager[Store]:
    """The server when `qdrant_url` is set, else the embedded engine; closed when the block ends.

    Raises as `open_at`.
    """
    return open_at(settings.qdrant_url, settings)


def open_at(
    url: str | None, settings: Settings, key_name: str = "QDRANT_API_KEY"
) -> contextlib.AbstractContextManager[Store]:
    """The server at that URL, with the key of that setting; without a URL the embedded engine.

    Raises Locked when another process holds the embedded folder, UsageError for a URL that cannot be used.
    """
    if url is None:
        from retrieval.store.edge import EdgeStore

        return contextlib.closing(EdgeStore(settings.embedded))
    from retrieval.store.server import ServerStore

    key = getattr(settings, key_name.lower())
    return contextlib.closing(ServerStore(url, key and key.get_secret_value(), key_name=key_name))
