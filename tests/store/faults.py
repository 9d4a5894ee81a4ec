"""A proxy before a real server that fails on demand, and a stub that is no Qdrant at all."""

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
"""Let the server do it, then hang up without a word: what a time-out looks like from the client's side."""

RESET = "reset the connection"
"""Hang up as a machine does that has gone down: nothing was done."""

PASS = "pass"
"""No fault: the next one waits for the request after."""

Fault = Refuse | str


@dataclass
class Proxy:
    """`faults` meet the next requests whose path ends in `on`, first come first served; the rest pass."""

    url: str = ""
    on: str = ""
    faults: list[Fault] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    def fail(self, on: str, *faults: Fault) -> None:
        self.on, self.faults = on, list(faults)
        self.seen.clear()


@contextlib.contextmanager
def proxy(target: str) -> Iterator[Proxy]:
    """A proxy on loopback before the target; with target "" every request must meet a fault."""
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
            """Keep quiet."""

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
