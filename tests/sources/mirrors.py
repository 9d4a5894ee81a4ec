"""A web server on loopback whose paths act as mirrors, some of them broken."""

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Mirrors:
    """`url("good")` and so on; `asked` holds (mirror, Range header) of every request."""

    content: bytes
    base: str = ""
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def url(self, mirror: str) -> str:
        return f"{self.base}/{mirror}/file.gz"

    def answer(self, mirror: str, offset: int) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body; a body shorter than its Content-Length is a connection that breaks."""
        size = len(self.content)
        body = self.content[offset:]
        partial = {"Content-Range": f"bytes {offset}-{size - 1}/{size}"} if offset else {}
        match mirror:
            case "good" if offset < size:
                return 206 if offset else 200, {"Content-Length": str(len(body)), **partial}, body
            case "good":
                return 416, {"Content-Range": f"bytes */{size}", "Content-Length": "0"}, b""
            case "breaks":
                return 206 if offset else 200, {"Content-Length": str(len(body)), **partial}, body[: size // 3]
            case "no-range":
                return 200, {"Content-Length": str(size)}, self.content
            case "wrong-range":
                return 206, {"Content-Length": "1", "Content-Range": f"bytes 0-0/{size}"}, b"x"
            case "corrupt":
                return 200, {"Content-Length": str(size)}, bytes(size)
            case "unknown-length":
                return 200, {}, self.content
            case _:
                return 404, {"Content-Length": "9"}, b"not found"


@contextlib.contextmanager
def serving(content: bytes) -> Iterator[Mirrors]:
    mirrors = Mirrors(content)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            mirror = self.path.split("/")[1]
            wanted = self.headers["Range"]
            mirrors.asked.append((mirror, wanted))
            offset = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
            status, headers, body = mirrors.answer(mirror, offset)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        mirrors.base = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield mirrors
        finally:
            server.shutdown()
            thread.join(timeout=10)
