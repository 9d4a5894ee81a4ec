"""Time limits for whole HTTP requests.

httpx limits each read but not their sum: a server that sends one byte now and then could keep a request open forever.
"""

import contextlib
import contextvars
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl

    import httpcore
    import httpx

PIECE = 2**16
"""Bytes written at once; the deadline is checked between two pieces."""
_END: contextvars.ContextVar[float] = contextvars.ContextVar("end")


@contextlib.contextmanager
def limit_time(seconds: float) -> Iterator[None]:
    """Limit the total time of the requests that this thread sends in the block.

    Applies to clients that `enforce_time_limits` has prepared; after `seconds` they raise httpx.TimeoutException,
    whatever the server sends. Outside such a block there is no limit.
    """
    mark = _END.set(min(time.monotonic() + seconds, _END.get(float("inf"))))
    try:
        yield
    finally:
        _END.reset(mark)


def enforce_time_limits(client: "httpx.Client") -> "httpx.Client":
    """Make all connections of the client obey `limit_time`, those through proxies too; returns the client."""
    for transport in (client._transport, *client._mounts.values()):  # httpx itself offers no way in
        pool = getattr(transport, "_pool", None)
        if pool is not None:
            pool._network_backend = _backend(pool._network_backend)
    return client


def _left(timeout: float | None, error: type[Exception]) -> float | None:
    """Seconds left for the next operation, at most `timeout`; raises `error` if none are left."""
    end = _END.get(None)
    if end is None:
        return timeout
    left = end - time.monotonic()
    if left <= 0:
        raise error("the deadline of the whole request has passed")
    return left if timeout is None else min(timeout, left)


def _backend(inner: "httpcore.NetworkBackend") -> "httpcore.NetworkBackend":
    """The network backend of httpcore, with the deadline applied to each wait."""
    import httpcore

    class Stream(httpcore.NetworkStream):
        def __init__(self, stream: httpcore.NetworkStream) -> None:
            self._stream = stream

        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            return self._stream.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            for start in range(0, len(buffer), PIECE):
                self._stream.write(buffer[start : start + PIECE], _left(timeout, httpcore.WriteTimeout))

        def close(self) -> None:
            self._stream.close()

        def start_tls(
            self, ssl_context: "ssl.SSLContext", server_hostname: str | None = None, timeout: float | None = None
        ) -> httpcore.NetworkStream:
            left = _left(timeout, httpcore.ConnectTimeout)
            return Stream(self._stream.start_tls(ssl_context, server_hostname, left))

        def get_extra_info(self, info: str) -> Any:
            return self._stream.get_extra_info(info)

    class Backend(httpcore.NetworkBackend):
        def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,
            local_address: str | None = None,
            socket_options: Iterable[Any] | None = None,
        ) -> httpcore.NetworkStream:
            left = _left(timeout, httpcore.ConnectTimeout)
            return Stream(inner.connect_tcp(host, port, left, local_address, socket_options))

    return Backend()
