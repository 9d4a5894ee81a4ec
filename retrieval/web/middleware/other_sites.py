"""Keeps other web sites' pages from using this service through the browser of someone who can reach it.

Without CORS they cannot read answers, but they could start searches and show images. Programs that are not browsers
send none of these headers and are not affected.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retrieval.web.errors import error_response
from retrieval.web.middleware.auth import OPEN, is_loopback

POLICY = "Cross-Origin-Resource-Policy"
FOREIGN = "a page of another web site asked for this; open the service's own page"


class OtherSites:
    """Middleware that refuses other sites' requests, except for images in the dashboard."""

    def __init__(self, app: ASGIApp, *, origins: Iterable[str], dashboards: Iterable[str]) -> None:
        """Set whose pages are not foreign.

        origins: URLs at which this service is reached, besides the one in the Host header
        dashboards: URLs whose pages may show images
        """
        self._app = app
        self._own = frozenset(map(authority, origins))
        self._dashboards = frozenset(map(authority, dashboards))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, path = Headers(scope=scope), scope["path"]
        in_dashboard = path.startswith("/images/") and authority(headers.get("referer", "")) in self._dashboards

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                answered[POLICY] = "cross-origin" if in_dashboard else "same-origin"
                if path.startswith("/images/"):
                    answered.add_vary_header("Referer")
            await send(message)

        allowed = in_dashboard or path in OPEN or path.startswith("/static/")
        refused = None if allowed or not self._is_foreign(headers, scope["method"]) else error_response(403, FOREIGN)
        await (refused or self._app)(scope, receive, send_on)

    def _is_foreign(self, headers: Headers, method: str) -> bool:
        """Whether a browser sends this for a page of another site, other than because someone followed a link."""
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        if site is None:  # an older browser, or plain http to another machine
            return origin is not None and authority(origin) not in self._own | {
                authority(f"//{headers.get('host', '')}")
            }
        followed = (headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest")) == ("navigate", "document")
        return site not in ("same-origin", "none") and not (followed and method in ("GET", "HEAD"))


def authority(url: str) -> str:
    """Host and port of a URL, in lower case; all names of this machine are one, and a scheme's own port is left out.

    >>> authority("http://LOCALHOST:6333/dashboard"), authority("//127.0.0.1:6333"), authority("https://a.example:443")
    ('localhost:6333', 'localhost:6333', 'a.example')
    >>> authority("null"), authority("http://[")
    ('', '')
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return ""
    name = "localhost" if is_loopback(host) else host
    return name if port in (None, {"https": 443}.get(parts.scheme, 80)) else f"{name}:{port}"
