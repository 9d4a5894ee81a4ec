"""Checks the host, rate and API key of each request, before anything else is done with it."""

import hashlib
import hmac
import ipaddress
import logging
import math
import time
from collections import Counter
from collections.abc import Iterator

from limits import RateLimitItemPerSecond
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from retrieval.web.errors import error_response
from retrieval.web.limits import client_group

OPEN = ("/", "/docs", "/healthz", "/openapi.json", "/readyz")
"""Paths that need no key, because they do not show the collection. Static files do not need one either."""
SESSION = "/api/session"
COOKIE = "retrieval"
SESSION_SECONDS = 7 * 24 * 3600
LONGEST_TOKEN = 100
SHORTEST_KEY = 16
LEAST_BITS = 40
IGNORED = 16
"""Maximum number of addresses that are logged because their X-Forwarded-For is ignored."""
LOG = logging.getLogger("retrieval.web")
WINDOW = 10
"""Seconds over which a client's requests are counted: a page of images is requested all at once."""


class AccessControl:
    """Middleware that passes a request on or answers it with an error."""

    def __init__(self, app: ASGIApp, *, key: str | None, rate: int, any_host: bool) -> None:
        """Set the rules.

        key: the API key (default: none)
        rate: requests per client and second, 0 for no limit
        any_host: accept any Host header. Without a key, only this machine's own names are accepted: otherwise a web
            page could resolve its domain to this machine (DNS rebinding) and read what only local users may see.
        """
        self._app, self._key, self._any_host = app, key, any_host or key is not None
        self._most = RateLimitItemPerSecond(rate * WINDOW, WINDOW) if rate else None
        self._ignored: set[str] = set()
        self._counts = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        refused = self._check(scope) if scope["type"] == "http" else None
        await (refused or self._app)(scope, receive, send)

    def _note_ignored(self, client: str, forwarded: str) -> None:
        """Log an address whose X-Forwarded-For was ignored: if believed, it would have made the client one of those."""
        named = {client_group(each.strip()) for each in forwarded[:1000].split(",")}
        if client not in named and len(self._ignored) < IGNORED:
            self._ignored.add(client)
            text = "X-Forwarded-For from %s is ignored; if that is your proxy: RETRIEVAL_TRUSTED_PROXIES=%s"
            LOG.error(text, client, client)

    def _check(self, scope: Scope) -> Response | None:
        headers, path = Headers(scope=scope), scope["path"]
        if not self._any_host and not is_here(headers.get("host", "")):
            return error_response(400, "without a key, this service can be reached as localhost only")
        client = client_group((scope.get("client") or ("unknown", 0))[0])
        if (forwarded := headers.get("x-forwarded-for")) and client not in self._ignored:
            self._note_ignored(client, forwarded)
        if self._most and not self._counts.hit(self._most, client):
            return error_response(429, "too many requests; wait a few seconds", {"Retry-After": str(WINDOW // 2)})
        if self._key is None or path in OPEN or path.startswith("/static/"):
            return open_session(scope, None) if path == SESSION else None
        shown = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        if path == SESSION:
            return open_session(scope, self._key if keys_match(shown, self._key) else "")
        if keys_match(shown, self._key) or has_session(headers.get("cookie", ""), self._key):
            return None
        return error_response(
            401, "this service needs its API key, in the header X-API-Key", {"WWW-Authenticate": "Bearer"}
        )


def open_session(scope: Scope, key: str | None) -> Response | None:
    """Set a session cookie for browsers, which cannot send a header with an `<img>` request.

    key: the right key; None when none is needed, empty when a wrong one was sent
    """
    if scope["method"] != "POST":
        return error_response(405, "use POST, with the key in the header X-API-Key", {"Allow": "POST"})
    response = (
        error_response(401, "this key is wrong", {"WWW-Authenticate": "Bearer"})
        if key == ""
        else Response(status_code=204)
    )
    if key:
        secure = scope["scheme"] == "https"
        response.set_cookie(COOKIE, make_token(key), SESSION_SECONDS, secure=secure, httponly=True, samesite="strict")
    return response


def make_token(key: str, now: float | None = None) -> str:
    """Make a cookie's value: its expiry time and an HMAC of that, from which the key cannot be recovered."""
    ends = str(int((time.time() if now is None else now) + SESSION_SECONDS))
    return f"{ends}.{sign(ends, key)}"


def sign(ends: str, key: str) -> str:
    """HMAC-SHA-256 of an expiry time, in hex."""
    return hmac.new(key.encode(), f"session until {ends}".encode(), hashlib.sha256).hexdigest()


def has_session(cookies: str, key: str) -> bool:
    """Whether the request's cookies contain a valid session."""
    return any(is_session(token, key) for token in tokens_of(cookies))


def tokens_of(cookies: str) -> Iterator[str]:
    """The values of our cookie that are short enough to be a token.

    Cookies are shared across the ports of a host, so other programs' come along, in any syntax. `http.cookies` stops at
    the first that it does not understand, and takes quadratic time for some.

    >>> list(tokens_of('prefs={"a":1}; flag; retrieval=1.ab;retrieval=2.cd'))
    ['1.ab', '2.cd']
    """
    for each in cookies.split(";"):
        name, _, value = each.strip().partition("=")
        if name == COOKIE and len(value) <= LONGEST_TOKEN:
            yield value


def is_session(token: str, key: str) -> bool:
    """Whether a cookie's value is a valid, unexpired session."""
    ends, _, signature = token.partition(".")
    return keys_match(signature, sign(ends, key)) and ends.isascii() and ends.isdecimal() and float(ends) > time.time()


def is_guessable(key: str) -> bool:
    """Whether an API key is shorter than 16 characters, or repeats so few that it is worth no more than ten.

    >>> is_guessable("a"), is_guessable("ab" * 20), is_guessable("4f1c2a9b0c1d5e2f"), is_guessable("a key of the tests")
    (True, True, False, False)
    """
    shares = [count / len(key) for count in Counter(key).values()]
    bits = len(key) * -sum(share * math.log2(share) for share in shares)
    return len(key) < SHORTEST_KEY or bits < LEAST_BITS


def keys_match(shown: str, wanted: str) -> bool:
    """Compare two keys in constant time."""
    return hmac.compare_digest(shown.encode("utf-8", "replace"), wanted.encode())


def is_here(host: str) -> bool:
    """Whether a Host header names this machine.

    >>> is_here("localhost:8000"), is_here("127.0.0.1"), is_here("[::1]:80"), is_here("evil.example:8000")
    (True, True, True, False)
    """
    name = host.rpartition("]")[0].removeprefix("[") if host.startswith("[") else host.partition(":")[0]
    return is_loopback(name)


def is_loopback(host: str) -> bool:
    """Whether the host is a loopback address, which only this machine can reach."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
