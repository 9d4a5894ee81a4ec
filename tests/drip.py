"""A server that keeps within every time-out of a single read and never comes to an end: a byte now and then."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

EVERY = 0.1
"""Seconds between two bytes."""
BYTES = 400
"""So long it goes on: forty seconds, which nobody may listen to."""


@dataclass
class Drip:
    """`given_up` holds, for each answer that was not listened to to its end, how many bytes of it were sent."""

    url: str = ""
    given_up: list[int] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    """The answers' requests, `GET /path`, that were listened to to the end."""


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def slow_head() -> tuple[bytes, bytes]:
    """What is sent at once, and what drips."""
    return HEAD, b"X-Slow: " + b"a" * BYTES + b"\r\nContent-Length: 2\r\n\r\n{}"


def slow_body() -> tuple[bytes, bytes]:
    return HEAD + f"Content-Length: {BYTES}\r\n\r\n".encode(), b" " * (BYTES - 2) + b"{}"


def slow_chunks() -> tuple[bytes, bytes]:
    return HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n" * (BYTES // 6) + b"2\r\n{}\r\n0\r\n\r\n"


Answer = Callable[[], tuple[bytes, bytes]]
WAYS: tuple[Answer, ...] = (slow_head, slow_body, slow_chunks)


@contextlib.contextmanager
def dripping(way: Answer, quick: dict[str, bytes] | None = None) -> Iterator[Drip]:
    """quick: paths whose JSON is answered at once; every other request drips."""
    state, over = Drip(), threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))
    state.url = f"http://127.0.0.1:{listening.getsockname()[1]}"

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.settimeout(30)
            asked = b""
            while b"\r\n\r\n" not in asked:
                if not (more := connection.recv(2**16)):
                    return
                asked += more
            method, path, _ = asked.decode("latin-1").split(" ", 2)
            if (body := (quick or {}).get(path.partition("?")[0])) is not None:
                head = HEAD + f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                connection.sendall(head + body)
                return
            at_once, slowly = way()
            if method == "HEAD" and at_once.endswith(b"\r\n\r\n"):
                connection.sendall(at_once[:-2] + b"Connection: close\r\n\r\n")  # such an answer has no body
                return
            connection.sendall(at_once)
            for number in range(len(slowly)):
                try:
                    connection.sendall(slowly[number : number + 1])
                except OSError:
                    state.given_up.append(number)
                    return
                if over.wait(EVERY):
                    return
            state.heard.append(f"{method} {path}")

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        over.set()
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(10)
