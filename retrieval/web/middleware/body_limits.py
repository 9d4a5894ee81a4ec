"""Limits request bodies while they are read: size, time, and the number of large ones at once.

A large body is not read until one of a few slots is free; a small body never waits. This bounds the memory, while small
requests are still answered.
"""

import asyncio

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retrieval.web.errors import BUSY_SECONDS, TOO_BUSY
from retrieval.web.limits import Limits
from retrieval.web.metrics import Metrics


class BodyLimits:
    """Middleware that raises HTTPException 408, 413 or 503 in the route that reads the body."""

    def __init__(self, app: ASGIApp, limits: Limits, metrics: Metrics) -> None:
        self._app, self._limits, self._metrics = app, limits, metrics
        self._places = asyncio.Semaphore(limits.large)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = LimitedBody(
            receive, self._limits, self._places, self._metrics, Headers(scope=scope).get("content-length")
        )
        try:
            await self._app(scope, body.receive, send)
        finally:
            body.close()


class LimitedBody:
    """The body of one request."""

    def __init__(
        self, receive: Receive, limits: Limits, places: asyncio.Semaphore, metrics: Metrics, declared: str | None
    ) -> None:
        self._receive, self._limits, self._places, self._metrics = receive, limits, places, metrics
        self._declared = int(declared) if declared and declared.isdecimal() else 0
        self._size, self._held, self._ended = 0, False, False
        self._end = asyncio.get_running_loop().time() + limits.body_seconds

    async def receive(self) -> Message:
        """Return the next part of the body; after the last part, the server's other messages."""
        if self._ended:
            return await self._receive()
        if self._declared > self._limits.upload:
            raise self._refusal(413, "size", f"too large; at most {format_size(self._limits.upload)}")
        if max(self._size, self._declared) > self._limits.small and not self._held:
            await self._place()
        try:
            async with asyncio.timeout_at(self._end):
                message = await self._receive()
        except TimeoutError:
            raise self._refusal(408, "time", f"the upload took more than {self._limits.body_seconds:.0f} s") from None
        self._size += len(message.get("body", b""))
        if self._size > self._limits.upload:
            raise self._refusal(413, "size", f"too large; at most {format_size(self._limits.upload)}")
        self._ended = not message.get("more_body", False)
        return message

    async def _place(self) -> None:
        try:
            async with asyncio.timeout_at(self._end):
                await self._places.acquire()
        except TimeoutError:
            raise self._refusal(503, "busy", TOO_BUSY, {"Retry-After": str(BUSY_SECONDS)}) from None
        self._held = True

    def _refusal(self, status: int, reason: str, text: str, headers: dict[str, str] | None = None) -> HTTPException:
        self._ended = True
        self._metrics.refused.labels(reason).inc()
        return HTTPException(status, text, headers)

    def close(self) -> None:
        """Free the slot for the next large body."""
        if self._held:
            self._places.release()


def format_size(size: int) -> str:
    """A number of bytes, in the largest unit of which it is at least one.

    >>> format_size(32 * 2**20), format_size(300_000), format_size(1000)
    ('32 MiB', '293 KiB', '1000 bytes')
    """
    unit, name = next(((unit, name) for unit, name in ((2**20, "MiB"), (2**10, "KiB")) if size >= unit), (1, "bytes"))
    return f"{size / unit:.0f} {name}"
