"""Where codes are stored: one interface, two engines. `open_store` picks the one that the settings ask for."""

import contextlib

from retrieval.config import Settings
from retrieval.store.base import Server, Store


def open_store(settings: Settings, *, hurry: bool = False) -> contextlib.AbstractContextManager[Store]:
    """The server if `qdrant_url` is set, otherwise the embedded engine; closed when the block ends.

    hurry: give up soon on a server that does not answer, because somebody waits

    Raises as `open_at`.
    """
    return open_at(settings.qdrant_url, settings, hurry=hurry)


def open_at(
    url: str | None, settings: Settings, key_name: str = "QDRANT_API_KEY", *, hurry: bool = False
) -> contextlib.AbstractContextManager[Store]:
    """The server at that URL, or the embedded engine without one; closed when the block ends.

    key_name: the setting that holds the server's key

    Raises Locked if another process uses the embedded folder, UsageError for a URL that cannot be used.
    """
    if url is None:
        from retrieval.store.edge.engine import EdgeStore

        return contextlib.closing(EdgeStore(settings.embedded))
    return contextlib.closing(connect(url, settings, key_name, hurry=hurry))


def connect(url: str, settings: Settings, key_name: str = "QDRANT_API_KEY", *, hurry: bool = False) -> Server:
    """The server at that URL, to be closed by the caller. Does not send a request yet; raises UsageError."""
    from retrieval.store.qdrant.connection import HURRIED, Patience
    from retrieval.store.qdrant.server import ServerStore

    key, patience = getattr(settings, key_name.lower()), HURRIED if hurry else Patience()
    return ServerStore(url, key and key.get_secret_value(), patience=patience, key_name=key_name)
