"""A proxy in front of a real server that fails on demand, and a stub server that is not Qdrant."""

import contextlib
import http.server
import socket
import struct
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Refuse:
    """Answer this instead of asking the server."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


LOSE = "lose the answer"
"""Pass the request on, then hang up without an answer, as a time-out looks to the client."""

RESET = "reset the connection"
"""Hang up without passing the request on, as if the machine were down."""

PASS = "pass"
"""No fault for this request; the next fault is for the next request."""

Fault = Refuse | str


@dataclass
class Proxy:
    """Apply `faults`, in order, to the next requests whose path ends in `on`; other requests pass."""

    url: str = ""
    on: str = ""
    faults: list[Fault] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    def fail(self, on: str, *faults: Fault) -> None:
        self.on, self.faults = on, list(faults)
        self.seen.clear()


@contextlib.contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """A proxy on loopback in front of the target; with target "" there must be a fault for every request."""
    state = Proxy()
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    class Handler(http.server.BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.split("?")[0]
            state.seen.append(f"{self.command} {path}")
            fault = state.faults.pop(0) if state.faults and path.endswith(state.on) else None
            if isinstance(fault, Refuse):
                self.reply(fault.status, fault.headers, fault.body)
                return
            if fault == RESET:
                self.close_connection = True
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                socket.close(self.connection.detach())
                return
            request = urllib.request.Request(
                target + self.path, body or None, {"Content-Type": "application/json"}, method=self.command
            )
            try:
                with direct.open(request, timeout=30) as response:
                    status, content = response.status, response.read()
            except urllib.error.HTTPError as refusal:
                with refusal:
                    status, content = refusal.code, refusal.read()
            if fault != LOSE:
                self.reply(status, {"Content-Type": "application/json"}, content)

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815 - http.server's names

        def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        thread.join(timeout=10)
        server.server_close()
