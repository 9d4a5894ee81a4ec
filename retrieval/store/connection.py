"""The way to a Qdrant server: what is refused before connecting, and what is tried again.

Tried again: no connection, time-outs, 5xx, 429, and 408, which a server says that was itself stopped for a while.
Never: what the server says is our fault (400-422). A time-out does not mean "not applied", so everything sent through
here must be safe to send twice. Of several nodes another is asked each time.
"""

import contextlib
import contextvars
import dataclasses
import logging
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

import httpx
import stamina
from qdrant_client import QdrantClient
from qdrant_client.http.exceptions import UnexpectedResponse

from retrieval.deadline import bounded, within
from retrieval.errors import StoreError, StoreUnavailable, UsageError
from retrieval.store.nodes import Nodes
from retrieval.store.translate import QDRANT_ERRORS, reason, retry_after, translate_error

if TYPE_CHECKING:
    from qdrant_client.http.api_client import Send

T = TypeVar("T")
P = ParamSpec("P")

OLDEST_SERVER = (1, 16)
"""The first with collection metadata."""
MAX_IDLE = 32
"""Idle connections that are kept; on loopback the client would make a new one for each request (0.5 ms)."""
NEXT_NODE_SECONDS = 0.01
"""Seconds until the next node is asked, before all of them have been."""


@dataclasses.dataclass(frozen=True)
class Patience:
    """Seconds: how long one request may take, to the last byte of its answer, and how long a call is tried again."""

    query: float = 5
    query_deadline: float = 15
    job: float = 60
    job_deadline: float = 120
    first_deadline: float = 5
    """Until the server has answered once: somebody is waiting, and the likely cause is a wrong URL."""
    elsewhere: float = 15
    """How long one request of a job may take where another node can be asked instead."""


HURRIED = Patience(query=3, query_deadline=4, job=4, job_deadline=4, first_deadline=4)
"""Of a service whose clients wait."""


class Guard(Protocol):
    """The locks of the job that this connection belongs to."""

    holder: str

    def check(self) -> None: ...

    def take(self, name: str) -> None: ...

    def fence(self, request: httpx.Request, timeout: float) -> contextlib.AbstractContextManager[float]:
        """Around each try of each request: raises Locked, or yields the seconds that it may take, `timeout` at most."""


class Connection:
    """A client that keeps its promises on time-outs and raises only errors of ours."""

    def __init__(self, url: str, api_key: str | None, patience: Patience, key_name: str = "QDRANT_API_KEY") -> None:
        """Does not connect yet; raises UsageError for a bad URL, or a key that would travel in the clear.

        url: of a server, or of several nodes of one cluster, with commas between · key_name: the setting that the key
        comes from, for messages.
        """
        self._nodes = Nodes(url)
        self.location = self._nodes.urls[0]
        self._key_name = key_name
        if api_key and self._nodes.open:
            raise UsageError(
                f"{key_name} would go unencrypted to {self._nodes.open}; use https, or a tunnel to localhost"
            )
        logging.getLogger("stamina").addHandler(logging.NullHandler())
        self._try: contextvars.ContextVar[tuple[str, float]] = contextvars.ContextVar("try")
        self.client = QdrantClient(
            url=self.location,
            headers={
                **({"api-key": api_key} if api_key else {}),  # `api_key=` warns, even on loopback
                **(
                    {"accept-encoding": "identity"} if self._nodes.loopback else {}
                ),  # nothing to gain there, and it takes time
            },
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=MAX_IDLE),
            check_compatibility=False,  # warns; `_check_version` asks instead
            trust_env=self._nodes.secure,  # no proxy ever sees plain http
        )
        bounded(self.client.http.client._client)
        self.client.http.client.add_middleware(self._send)
        self._patience, self._version_checked = patience, False
        self.guard: Guard | None = None

    def query(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Answer of a function that searches; errors as in `job`."""
        self._check_version()
        patience = self._patience
        return self._call(lambda: function(*args, **kwargs), patience.query, patience.query_deadline)

    def job(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Answer of a function that writes, or reads much.

        Raises StoreUnavailable after the deadline, NoCollection for 404, StoreError for a refusal.
        """
        self._check_version()
        patience = self._patience
        return self._call(lambda: function(*args, **kwargs), patience.job, patience.job_deadline)

    def ask_each(self, function: Callable[[], T]) -> "dict[str, T | StoreUnavailable]":
        """Answer of each node by itself, asked once and all at the same time, or why there is none; by URL."""

        def ask(node: str) -> T | StoreUnavailable:
            self._try.set((node, self._patience.query))
            try:
                return function()
            except QDRANT_ERRORS as error:
                return StoreUnavailable(f"does not answer ({reason(error)})")

        with ThreadPoolExecutor(len(self._nodes)) as pool:
            return dict(zip(self._nodes.urls, pool.map(ask, self._nodes.urls), strict=True))

    def _check_version(self) -> None:
        if not self._version_checked:
            first = self._patience.first_deadline
            version = self._call(self.client.info, first, first * len(self._nodes)).version
            if not (number := re.match(r"(\d+)\.(\d+)", version)) or (int(number[1]), int(number[2])) < OLDEST_SERVER:
                raise StoreError(
                    f"{self.location} runs Qdrant {version}, but 1.16 is the oldest that will do; use a newer server"
                )
            self._version_checked = True

    def _call(self, function: Callable[[], T], timeout: float, deadline: float) -> T:
        end, tried, heard = time.monotonic() + deadline, 0, ""
        outer = self._try.get(None)  # of a request before which the lock is renewed by this one
        if len(self._nodes) > 1:
            timeout = min(timeout, self._patience.elsewhere, deadline / len(self._nodes))

        def should_retry(error: Exception) -> bool | float:
            nonlocal heard
            heard = reason(error) if isinstance(error, UnexpectedResponse) else heard
            wait = retry_after(error)
            if wait is not False and self._nodes.move_on(self._try.get()[0]) and tried < len(self._nodes):
                return NEXT_NODE_SECONDS
            return wait if isinstance(wait, bool) else wait < end - time.monotonic() and wait

        try:
            for attempt in stamina.retry_context(
                on=should_retry,
                attempts=None,
                timeout=deadline,
                wait_max=min(5, deadline / 4),
                wait_jitter=min(0.5, deadline / 20),
            ):
                with attempt:
                    tried += 1
                    self._try.set((self._nodes.current, min(timeout, max(0.1, end - time.monotonic()))))
                    return function()
        except QDRANT_ERRORS as error:
            spent = time.monotonic() - end + deadline
            raise translate_error(error, self._try.get()[0], self._nodes.urls, self._key_name, heard, spent) from error
        finally:
            if outer:
                self._try.set(outer)
        raise AssertionError("not reached")

    def close(self) -> None:
        """Let the connections go."""
        self.client.close()

    def _send(self, request: httpx.Request, send: "Send") -> httpx.Response:
        node, timeout = self._try.get()
        with self.guard.fence(request, timeout) if self.guard else contextlib.nullcontext(timeout) as seconds:
            request.extensions["timeout"] = httpx.Timeout(seconds).as_dict()
            if node != self.location:
                self._nodes.address(request, node)
            with within(seconds):
                return send(request)
