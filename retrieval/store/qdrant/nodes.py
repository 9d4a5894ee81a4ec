"""The addresses of one server or cluster: which node to ask, and which one next if that fails."""

import ipaddress
import re
import threading
from urllib.parse import urlsplit

import httpx

from retrieval.errors import UsageError
from retrieval.util.sanitize import redact


class Nodes:
    """Stays with a node as long as it answers, so that reads go where the writes went."""

    def __init__(self, urls: str) -> None:
        """urls: one, or several separated by commas; raises UsageError for what is not a server's address."""
        self._nodes = [parse_url(url.strip()) for url in urls.split(",")]
        if len({node for node, _ in self._nodes}) < len(self._nodes):
            raise UsageError(f"QDRANT_URL {urls!r} names a server twice", hint="name each once")
        if len({httpx.URL(node).path for node, _ in self._nodes}) > 1:
            raise UsageError(f"QDRANT_URL {urls!r}: the nodes of one cluster must be reached by the same path")
        self._now, self._moving = 0, threading.Lock()
        self.urls = [node for node, _ in self._nodes]
        self.secure = all(url.startswith("https:") for url in self.urls)
        self.encrypted = any(url.startswith("https:") for url in self.urls)
        self.loopback = all(loopback for _, loopback in self._nodes)
        self.unencrypted = next((url for url, local in self._nodes if not local and not url.startswith("https:")), None)
        """A node that is reached unencrypted over a network; None if there is none."""

    def __len__(self) -> int:
        return len(self.urls)

    @property
    def current(self) -> str:
        """The node to ask now."""
        return self.urls[self._now]

    def move_on(self, failed: str) -> bool:
        """Use the next node from now on, unless another thread did so; returns whether there is more than one."""
        with self._moving:
            if self.urls[self._now] == failed:
                self._now = (self._now + 1) % len(self)
        return len(self) > 1

    @staticmethod
    def address(request: httpx.Request, node: str) -> None:
        """Redirect a request that was made for another node."""
        url = httpx.URL(node)
        request.url = request.url.copy_with(scheme=url.scheme, host=url.host, port=url.port)
        request.headers["host"] = request.url.netloc.decode("ascii")


def parse_url(url: str) -> tuple[str, bool]:
    """The URL with its port, and whether it is this machine; raises UsageError, without secrets in its message."""
    shown = redact(url)
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or 6333
    except ValueError:
        raise UsageError(f"QDRANT_URL {shown!r} is not like http://host:6333") from None  # it repeats the password
    if parts.username or parts.password:
        raise UsageError("QDRANT_URL must not hold a user or a password", hint="put the key into QDRANT_API_KEY")
    named = re.fullmatch(r"[\w.:%-]+", host or "")  # `a;http`, from http://a;http://b, is no host
    if parts.scheme not in ("http", "https") or not host or not named or parts.query or parts.fragment:
        raise UsageError(f"QDRANT_URL {shown!r} is not like http://host:6333")
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    name = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{name}:{port}{parts.path.rstrip('/')}", loopback
