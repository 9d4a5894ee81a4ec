"""The HTTP server: its socket, its time limits for slow clients, and how it shuts down."""

import asyncio
import signal
import socket
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from retrieval.errors import RetrievalError, UsageError
from retrieval.web.limits import Limits, client_group

GRACE_SECONDS = 10
"""Seconds that running requests have to finish at shutdown."""
HEAD_BYTES = 32 * 2**10
LOOPBACK = ("127.0.0.1", "::1")
TOO_MANY = (
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Type: application/json\r\n"
    b'Content-Length: 33\r\n\r\n{"error": "too many connections"}'
)


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


def run_server(app: ASGIApp, listening: socket.socket, limits: Limits, proxies: str | None) -> None:
    """Serve until SIGTERM or Ctrl-C; running requests are finished first.

    proxies: see `server_config`
    """
    for ending in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ending, lambda *_: None)  # uvicorn handles them too, and raises them again once it has shut down
    uvicorn.Server(server_config(app, limits, proxies)).run(sockets=[listening])


def server_config(app: ASGIApp, server_limits: Limits, proxies: str | None = None) -> uvicorn.Config:
    """The server's settings.

    proxies: addresses and networks, separated by commas, whose X-Forwarded-* are believed, besides this machine's
    """

    class Protocol(TimedProtocol):
        limits, open_connections = server_limits, Connections(server_limits)

    return uvicorn.Config(
        app,
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=2 * server_limits.connections,  # never reached: `Connections` closes some before
        forwarded_allow_ips=",".join([*LOOPBACK, proxies]) if proxies else None,
        timeout_graceful_shutdown=GRACE_SECONDS,
        h11_max_incomplete_event_size=HEAD_BYTES,
    )


class Connections:
    """The open connections of all clients. If one has more than its share, or all have too many, one is closed.

    That is one without a request, of the client that has the most; so idle connections keep nobody out.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits, self._total = limits, 0
        self._of: dict[str, dict[TimedProtocol, None]] = {}

    def add(self, new: "TimedProtocol") -> None:
        """Count a connection, and close one if there are too many."""
        mine = self._of.setdefault(new.group, {})
        mine[new] = None
        self._total += 1
        if len(mine) > self._limits.client_connections:
            self._close_one(mine, new)
        elif self._total > self._limits.connections:
            self._close_one(max(self._of.values(), key=len), new)

    def discard(self, old: "TimedProtocol") -> None:
        """Stop counting a connection; nothing if it is not counted."""
        mine = self._of.get(old.group, {})
        if old in mine:
            del mine[old]
            self._total -= 1
        if not mine:
            self._of.pop(old.group, None)

    def _close_one(self, some: "dict[TimedProtocol, None]", new: "TimedProtocol") -> None:
        """Close the oldest that never had a request, else the oldest idle one, else the newest."""
        unused = (each for each in some if each.is_unused and each is not new)
        idle = (each for each in some if each.is_idle and each is not new)
        chosen = next(unused, None) or next(idle, None) or next(reversed(some))
        self.discard(chosen)
        chosen.refuse()


class TimedProtocol(H11Protocol):
    """Closes a connection that sends no complete head, keeps sending after its answer, or never ends a request.

    group: whose connection it is
    """

    limits: Limits
    open_connections: "Connections"
    group: str

    def connection_made(self, transport: Any) -> None:
        """Start the timer of the connection."""
        super().connection_made(transport)
        self.group = client_group(self.client[0] if self.client else "")
        self.open_connections.add(self)
        self._since = self.loop.time()
        self._seen: object = None
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.open_connections.discard(self)
        super().connection_lost(exc)

    @property
    def is_idle(self) -> bool:
        """Whether no request is in progress."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def is_unused(self) -> bool:
        """Whether there was no request yet."""
        return self.cycle is None

    def refuse(self) -> None:
        """Close the connection, with a reason if the client has got no answer yet."""
        if self.is_unused:
            self.transport.write(TOO_MANY)
        self.transport.close() if self.is_idle else self.transport.abort()

    def _watch(self) -> None:
        if self.transport.is_closing():
            return
        busy = not self.is_idle
        if (busy, self.cycle) != self._seen:
            self._seen, self._since = (busy, self.cycle), self.loop.time()
        if self.loop.time() - self._since > (self.limits.request_seconds if busy else self.limits.head_seconds):
            self.transport.abort() if busy else self.transport.close()
            return
        self._watching = asyncio.get_running_loop().call_later(self.limits.head_seconds / 4, self._watch)
