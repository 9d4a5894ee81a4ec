"""The HTTP server: its socket, its time limits for slow clients, and how it shuts down."""

import asyncio
import signal
import socket
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from retrieval.errors import RetrievalError, UsageError
from retrieval.web.limits import Limits

GRACE_SECONDS = 10
"""Seconds that running requests have to finish at shutdown."""
HEAD_BYTES = 32 * 2**10


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes any free one. Raises RetrievalError when the address is taken or not allowed."""
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=1024)
    except OverflowError as error:
        raise UsageError(f"{port} is not a port", option="port", hint="use a number from 0 to 65535") from error
    except OSError as error:
        raise RetrievalError(
            f"cannot listen on {host} port {port}: {error.strerror}", hint="choose another --port"
        ) from error


def run_server(app: ASGIApp, listening: socket.socket, limits: Limits) -> None:
    """Serve until SIGTERM or Ctrl-C; running requests are finished first."""
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: None)  # uvicorn handles them too, and raises them again once it has shut down
    uvicorn.Server(server_config(app, limits)).run(sockets=[listening])


def server_config(app: ASGIApp, server_limits: Limits) -> uvicorn.Config:
    """The server's settings."""

    class Protocol(TimedProtocol):
        limits = server_limits

    return uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=server_limits.connections,
        timeout_graceful_shutdown=GRACE_SECONDS,
        h11_max_incomplete_event_size=HEAD_BYTES,
    )


class TimedProtocol(H11Protocol):
    """Closes a connection that sends no complete head, keeps sending after its answer, or never ends a request."""

    limits: Limits

    def connection_made(self, transport: Any) -> None:
        """Start the timer of the connection."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self._seen: object = None
        self._watch()

    def _watch(self) -> None:
        if self.transport.is_closing():
            return
        busy = self.cycle is not None and not self.cycle.response_complete
        if (busy, self.cycle) != self._seen:
            self._seen, self._since = (busy, self.cycle), self.loop.time()
        if self.loop.time() - self._since > (self.limits.request_seconds if busy else self.limits.head_seconds):
            self.transport.abort() if busy else self.transport.close()
            return
        self._watching = asyncio.get_running_loop().call_later(self.limits.head_seconds / 4, self._watch)
