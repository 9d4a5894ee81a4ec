"""Storage of codes and payloads: one interface, two engines. `open_store` opens the one that the settings choose."""

import contextlib

from retrieval.config import Settings
from retrieval.store.base import Server, Store


def open_store(settings: Settings, *, fail_fast: bool = False) -> contextlib.AbstractContextManager[Store]:
    """The server if `qdrant_url` is set, otherwise the embedded engine; closed when the block ends.

    fail_fast: give up soon if the server does not answer, because a person or a client is waiting

    Raises as `open_at`.
    """
    return open_at(settings.qdrant_url, settings, fail_fast=fail_fast)


def open_for_service(settings: Settings, alias: str) -> contextlib.AbstractContextManager[Store]:
    """As `open_store`, for a program that only reads what the alias names, for long: jobs can write meanwhile.

    The embedded engine is read from a copy, which is made again after each job. Raises as `open_at`, and StoreError if
    there is no room for the copy.
    """
    if settings.qdrant_url is not None:
        return open_store(settings, fail_fast=True)
    from retrieval.store.edge.copied import CopiedEdgeStore

    return contextlib.closing(CopiedEdgeStore(settings.embedded, alias))


def open_at(
    url: str | None, settings: Settings, key_name: str = "QDRANT_API_KEY", *, fail_fast: bool = False
) -> contextlib.AbstractContextManager[Store]:
    """The server at that URL, or the embedded engine without one; closed when the block ends.

    key_name: the setting that holds the server's key

    Raises Locked if another process uses the embedded folder, UsageError for a URL that cannot be used.
    """
    if url is None:
        from retrieval.store.edge.engine import EdgeStore

        return contextlib.closing(EdgeStore(settings.embedded))
    return contextlib.closing(open_server(url, settings, key_name, fail_fast=fail_fast))


def open_server(url: str, settings: Settings, key_name: str = "QDRANT_API_KEY", *, fail_fast: bool = False) -> Server:
    """The server at that URL, to be closed by the caller. Does not send a request yet; raises UsageError."""
    from retrieval.store.qdrant.connection import FAIL_FAST, TimeLimits
    from retrieval.store.qdrant.server import ServerStore

    key, time_limits = getattr(settings, key_name.lower()), FAIL_FAST if fail_fast else TimeLimits()
    return ServerStore(url, key and key.get_secret_value(), time_limits=time_limits, key_name=key_name)
