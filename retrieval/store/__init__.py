"""Where codes live: one interface, two engines. `open_store` picks the one that the settings ask for."""

import contextlib

from retrieval.config import Settings
from retrieval.store.base import Store


def open_store(settings: Settings, *, hurry: bool = False) -> contextlib.AbstractContextManager[Store]:
    """The server when `qdrant_url` is set, else the embedded engine; closed when the block ends.

    hurry: a server that does not answer is given up soon, for somebody waits. Raises as `open_at`.
    """
    return open_at(settings.qdrant_url, settings, hurry=hurry)


def open_at(
    url: str | None, settings: Settings, key_name: str = "QDRANT_API_KEY", *, hurry: bool = False
) -> contextlib.AbstractContextManager[Store]:
    """The server at that URL, with the key of that setting; without a URL the embedded engine.

    Raises Locked when another process holds the embedded folder, UsageError for a URL that cannot be used.
    """
    if url is None:
        from retrieval.store.edge import EdgeStore

        return contextlib.closing(EdgeStore(settings.embedded))
    from retrieval.store.connection import HURRIED, Patience
    from retrieval.store.server import ServerStore

    key, patience = getattr(settings, key_name.lower()), HURRIED if hurry else Patience()
    return contextlib.closing(ServerStore(url, key and key.get_secret_value(), patience=patience, key_name=key_name))
