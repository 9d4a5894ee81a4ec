"""Images and requests that try to stop the service, for `scripts/bench_serve` and the tests."""

import contextlib
import http.client
import io
import json
import os
import socket
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from struct import pack

from bench_clients import END, HEADERS, PART
from PIL import Image

ADDRESS = "127.0.0.2"
IDLE = 512
PAUSE = 0.02


def many_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan, a refinement, is repeated."""
    out = io.BytesIO()
    Image.new("RGB", (side, side), (90, 140, 200)).save(out, "JPEG", progressive=True)
    data = out.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def wide_png(side: int) -> bytes:
    """A small file of many pixels with opacity, in order."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return pack(">I", len(body)) + name + body + pack(">I", zlib.crc32(name + body))

    packer = zlib.compressobj(9)
    rows = [packer.compress(b"\0" + bytes((row % 251, 90, 200, 127)) * side) for row in range(side)]
    header = pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    pixels = b"".join([*rows, packer.flush()])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def main() -> None:
    """Run an attack for some seconds, as JSON on stdin says; print how often each status was answered."""
    os.nice(10)  # attackers have machines of their own, and do not take this one's time from the service
    told = json.loads(sys.stdin.readline())
    port, key = told["port"], {"X-API-Key": told["key"]}
    senders: list[Callable[[], int]] = []
    for name in told["attacks"]:
        if name == "scans":
            senders += [image_sender(port, key, many_scans(7000, scans)) for scans in (500, 88)]
        elif name == "wide":
            senders += [image_sender(port, key, wide_png(7000)) for _ in range(2)]
        elif name == "cookies":
            cookie = {"Cookie": 'retrieval="' + "\\" * 30_000 + '"'}
            senders += [sender(port, "GET", "/api/status", b"", cookie, PAUSE) for _ in range(4)]
        elif name == "pages":
            foreign = {"Sec-Fetch-Site": "cross-site", "Content-Type": "application/json", **key}
            senders += [sender(port, "POST", "/api/search", b"{}", foreign, PAUSE) for _ in range(4)]
        else:
            senders.append(idle_sender(port))
    end, answers = time.monotonic() + told["seconds"], Counter[int]()

    def send(sender: Callable[[], int]) -> None:
        while time.monotonic() < end:
            answers[sender()] += 1

    with ThreadPoolExecutor(len(senders)) as threads:
        print("ready", flush=True)
        list(threads.map(send, senders))
    print(json.dumps(answers))


def sender(port: int, method: str, path: str, body: bytes, headers: dict[str, str], pause: float) -> Callable[[], int]:
    """Sends a request and returns the status, 0 if there is none; from another address than the good clients."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60, source_address=(ADDRESS, 0))

    def send() -> int:
        time.sleep(pause)
        try:
            client.request(method, path, body, headers)
            answer = client.getresponse()
            answer.read()
            return answer.status
        except (OSError, http.client.HTTPException):
            client.close()
            time.sleep(PAUSE)
            return 0

    return send


def image_sender(port: int, key: dict[str, str], image: bytes) -> Callable[[], int]:
    """Sends an image without a pause."""
    return sender(port, "POST", "/api/search", PART + image + END, {**HEADERS, **key}, 0)


def idle_sender(port: int) -> Callable[[], int]:
    """Holds IDLE connections without a request, and opens those again that the service closes."""
    held: list[socket.socket] = []

    def renew() -> int:
        for each in held[:]:
            try:
                if each.recv(1000) == b"":
                    held.remove(each)
                    each.close()
            except BlockingIOError:
                pass
            except OSError:
                held.remove(each)
        with contextlib.suppress(OSError):
            while len(held) < IDLE:
                each = socket.create_connection(("127.0.0.1", port), 10, (ADDRESS, 0))
                each.setblocking(False)
                held.append(each)
        time.sleep(10 * PAUSE)
        return 0

    return renew


if __name__ == "__main__":
    main()
