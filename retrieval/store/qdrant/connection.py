"""The connection to a Qdrant server: time limits, retries, and errors of ours.

Retried: no connection, time-outs, 5xx, 429, and 408, which a server sends after it was stopped for a while. Not
retried: errors in our requests (400-422). After a time-out the request may still be applied, so every request sent
through here must be safe to send twice. With several nodes, each try goes to another one.
"""

import contextlib
import contextvars
import dataclasses
import importlib.metadata
import logging
import os
import re
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

import httpx
import stamina
from qdrant_client import QdrantClient
from qdrant_client.http.exceptions import UnexpectedResponse

from retrieval.errors import StoreError, StoreUnavailable, UsageError
from retrieval.store.qdrant.errors import QDRANT_ERRORS, reason, retry_after, translate_error
from retrieval.store.qdrant.nodes import Nodes
from retrieval.util.deadline import enforce_time_limits, limit_time

if TYPE_CHECKING:
    from qdrant_client.http.api_client import Send

T = TypeVar("T")
P = ParamSpec("P")

LOG = logging.getLogger("retrieval")

OLDEST_SERVER = (1, 16)
"""The first version with collection metadata."""
MAX_IDLE = 32
"""Idle connections to keep open; by default, on loopback, the client opens one for each request (0.5 ms)."""
NODE_SECONDS = 1.0
"""How long a node may take to show a change."""
AGREE_SECONDS = 5.0
NEXT_NODE_SECONDS = 0.01
"""Seconds before the next node is tried, until every node was tried once."""


@dataclasses.dataclass(frozen=True)
class TimeLimits:
    """Time limits in seconds.

    query, job: for one request, to the last byte of its answer
    query_deadline, job_deadline: for a call with all its retries
    first_deadline: until the server has answered once; if it does not, the likely cause is a wrong URL
    elsewhere: for one request of a job that another node could answer instead
    """

    query: float = 5
    query_deadline: float = 15
    job: float = 60
    job_deadline: float = 120
    first_deadline: float = 5
    elsewhere: float = 15


FAIL_FAST = TimeLimits(query=3, query_deadline=4, job=4, job_deadline=4, first_deadline=4)
"""For a service or a command whose caller waits."""


def read_version(version: str) -> tuple[int, int]:
    """Major and minor version; (0, 0) for what is none, as of a build by hand."""
    number = re.match(r"(\d+)\.(\d+)", version)
    return (int(number[1]), int(number[2])) if number else (0, 0)


@contextlib.contextmanager
def refuse_bad_certificates() -> Iterator[None]:
    """Raises UsageError if the file of trusted certificates that the environment names cannot be used."""
    try:
        yield
    except OSError as error:  # SSLError is one
        named = os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR")
        raise UsageError(
            f"SSL_CERT_FILE={named}: {error.strerror or error}", hint="it must be a file of certificates in PEM form"
        ) from error


class Guard(Protocol):
    """The locks of the job that this connection belongs to."""

    holder: str

    def check(self) -> None: ...

    def take(self, name: str) -> None: ...

    def fence(self, request: httpx.Request, timeout: float) -> contextlib.AbstractContextManager[float]:
        """Wraps each try of each request: raises Locked, or yields the seconds it may take, at most `timeout`."""


class Connection:
    """A client that applies time limits and retries, and raises only errors of ours."""

    def __init__(
        self, url: str, api_key: str | None, time_limits: TimeLimits, key_name: str = "QDRANT_API_KEY"
    ) -> None:
        """Does not connect yet. Raises UsageError for a bad URL, or a key that would be sent unencrypted.

        url: of a server, or of several nodes of one cluster, separated by commas
        key_name: the setting that holds the key, for messages
        """
        self._nodes = Nodes(url)
        self.location = self._nodes.urls[0]
        self._key_name = key_name
        if api_key and self._nodes.unencrypted:
            raise UsageError(
                f"{key_name} would be sent unencrypted to {self._nodes.unencrypted}",
                hint="use https, or a tunnel to localhost",
            )
        logging.getLogger("stamina").addHandler(logging.NullHandler())
        self._try: contextvars.ContextVar[tuple[str, float]] = contextvars.ContextVar("try")
        with refuse_bad_certificates():
            self.client = QdrantClient(
                url=self.location,
                headers={
                    **({"api-key": api_key} if api_key else {}),  # `api_key=` warns, even on loopback
                    **(
                        {"accept-encoding": "identity"} if self._nodes.loopback else {}
                    ),  # compression only costs time there
                },
                limits=httpx.Limits(max_connections=None, max_keepalive_connections=MAX_IDLE),
                check_compatibility=False,  # warns; `_check_version` asks instead
                trust_env=self._nodes.secure,  # no proxy ever sees plain http
                verify=self._nodes.encrypted or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),  # else 13 ms for certificates
            )
        enforce_time_limits(self.client.http.client._client)
        self.client.http.client.add_middleware(self._send)
        self._limits, self._version_checked = time_limits, False
        self.guard: Guard | None = None

    def query(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that searches; raises as `job`."""
        self._check_version()
        time_limits = self._limits
        return self._call(lambda: function(*args, **kwargs), time_limits.query, time_limits.query_deadline)

    def job(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function that writes, or reads a lot.

        Raises StoreUnavailable after the deadline, NoCollection for 404, StoreError if the server refuses.
        """
        self._check_version()
        time_limits = self._limits
        return self._call(lambda: function(*args, **kwargs), time_limits.job, time_limits.job_deadline)

    def wait_for_each(self, function: Callable[[], T], shows: Callable[[T], bool]) -> None:
        """Wait, at most AGREE_SECONDS, until each node that answers shows a change: they apply it one after the other.

        So that another job, which asks another node, does not begin with what was before.

        function: reads the changed part
        shows: whether an answer has the change
        """
        end = time.monotonic() + AGREE_SECONDS
        while len(self._nodes) > 1 and time.monotonic() < end:
            answers = self.ask_each(function, NODE_SECONDS).values()
            if all(isinstance(answer, StoreUnavailable) or shows(answer) for answer in answers):
                return
            time.sleep(NEXT_NODE_SECONDS)

    def ask_each(self, function: Callable[[], T], seconds: float | None = None) -> "dict[str, T | StoreUnavailable]":
        """Call the function once for each node, all at the same time; returns URL → answer, or why there is none.

        seconds: time limit, by default that of a query
        """

        def ask(node: str) -> T | StoreUnavailable:
            self._try.set((node, seconds or self._limits.query))
            try:
                return function()
            except QDRANT_ERRORS as error:
                return StoreUnavailable(f"does not answer ({reason(error)})")

        with ThreadPoolExecutor(len(self._nodes)) as pool:
            return dict(zip(self._nodes.urls, pool.map(ask, self._nodes.urls), strict=True))

    def _check_version(self) -> None:
        if not self._version_checked:
            first = self._limits.first_deadline
            version = self._call(self.client.info, first, first * len(self._nodes)).version
            server, client = read_version(version), importlib.metadata.version("qdrant-client")
            if server < OLDEST_SERVER:
                raise StoreError(
                    f"{self.location} runs Qdrant {version}, but at least 1.16 is needed", hint="use a newer server"
                )
            major, minor = read_version(client)
            if server[0] != major or abs(server[1] - minor) > 1:  # what Qdrant promises to work together
                LOG.warning(
                    "%s runs Qdrant %s, more than one minor version away from qdrant-client %s; it may refuse requests",
                    self.location,
                    version,
                    client,
                )
            self._version_checked = True

    def _call(self, function: Callable[[], T], timeout: float, deadline: float) -> T:
        end, tried, heard = time.monotonic() + deadline, 0, ""
        outer = self._try.get(None)  # set if this call renews the lock for another request
        if len(self._nodes) > 1:
            timeout = min(timeout, self._limits.elsewhere, deadline / len(self._nodes))

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
        """Close the connections."""
        self.client.close()

    def _send(self, request: httpx.Request, send: "Send") -> httpx.Response:
        node, timeout = self._try.get()
        with self.guard.fence(request, timeout) if self.guard else contextlib.nullcontext(timeout) as seconds:
            request.extensions["timeout"] = httpx.Timeout(seconds).as_dict()
            if node != self.location:
                self._nodes.address(request, node)
            with limit_time(seconds):
                return send(request)
