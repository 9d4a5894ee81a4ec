"""Decodes images that anyone may have made, in a process of its own, which its limits or its parent may kill.

Requests come on stdin, answers go to stdout; each is a head in JSON and a body. `retrieval.web.decoders` is the parent.
"""

import contextlib
import dataclasses
import hashlib
import json
import logging
import os
import re
import signal
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

from PIL import Image

from retrieval.errors import BadImage
from retrieval.images.decode import decode, encode_jpeg, encode_png, thumbnail
from retrieval.images.memory import MemoryBudget, bytes_of, set_budget
from retrieval.images.opening import decode_errors, open_header, register_plugins
from retrieval.schema.image_shape import ImageShape

MAX_MARKERS = 5000
"""Maximum number of segments in a JPEG; a large colour profile or thumbnail takes some hundred."""
MAX_SCANS = 100
"""Maximum number of scans in a JPEG, each of which goes over all pixels; programs write about ten."""
OUT_OF_MEMORY = 3
"""Exit code of a process that reached its memory limit."""
SPARE = 64 * 10**6
"""Bytes beyond those of the pixels that a process may take: the file, a row of the image, the answer."""
JPEG = b"\xff\xd8\xff"
_MARKER = re.compile(rb"\xff+([^\x00\x01\xff\xd0-\xd7])")
_SOS, _EOI, _SOI = b"\xda", b"\xd9", b"\xd8"
_SIZES = struct.Struct(">II")
SIZES_BYTES = _SIZES.size
"""Bytes before each message that hold the sizes of its head and body."""
_STATM = Path("/proc/self/statm")


@dataclasses.dataclass(frozen=True, slots=True)
class ProcessLimits:
    """Limits of one process.

    seconds: of processor time for one image
    nbytes: of memory for decoding one image
    pixels: maximum height × width of an image
    cost: images that cost more are not decoded but answered as `costly`; None for no limit. A unit is the time for a
        pixel of a PNG, about a forty-millionth of a second.
    nice: priority, from 0 to 19, which yields to all others
    """

    seconds: float
    nbytes: int
    pixels: int
    cost: int | None
    nice: int


def main() -> None:
    """Answer requests until stdin ends. The limits come as JSON on the command line."""
    limits = ProcessLimits(**json.loads(sys.argv[1]))
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a decoder prints must not mix with the answers
    logging.disable()  # Pillow's remarks about a file would fill the service's log
    set_budget(MemoryBudget(limits.nbytes))
    register_plugins()
    restrict_process(limits)
    while request := read_message(requests):
        try:
            with time_limit(limits.seconds):
                answer = work(*request, limits)
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        for part in pack_message(*answer):
            answers.write(part)
        answers.flush()


def read_message(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """The next head and body; None at the end of the stream."""
    sizes = stream.read(_SIZES.size)
    if len(sizes) < _SIZES.size:
        return None
    head, body = _SIZES.unpack(sizes)
    return json.loads(stream.read(head)), stream.read(body)


def pack_message(head: dict[str, Any], body: bytes) -> tuple[bytes, bytes]:
    """The two parts of a message, the second of which is the body itself: a copy of it would take memory."""
    text = json.dumps(head).encode()
    return _SIZES.pack(len(text), len(body)) + text, body


def unpack_sizes(sizes: bytes) -> tuple[int, int]:
    """Sizes of a message's head and body, from its first eight bytes."""
    head, body = _SIZES.unpack(sizes)
    return head, body


def restrict_process(limits: ProcessLimits) -> None:
    """Limit this process's memory and priority, and forbid it to write files."""
    with contextlib.suppress(ImportError):  # on systems without such limits, the parent's time limit remains
        import resource

        os.nice(limits.nice)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
        if _STATM.exists():
            now = int(_STATM.read_text().split()[0]) * resource.getpagesize()
            most = now + limits.nbytes * 5 // 4 + SPARE  # flattening takes a fifth more than the pixels
            resource.setrlimit(resource.RLIMIT_AS, (most, most))


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Kill this process by SIGPROF if the block takes more processor time, even inside a decoder written in C."""
    if not hasattr(signal, "setitimer"):
        yield
        return
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def work(task: dict[str, Any], data: bytes, limits: ProcessLimits) -> tuple[dict[str, Any], bytes]:
    """Do what is asked; returns the answer's head and body.

    task: `name` of the image, and `shape` to decode it to, or `kind`, `side` and `enlarge` of the image file to make
    """
    name = task["name"]
    try:
        wanted = task["side"] if "kind" in task else max(task["shape"][:2])
        cost = check(data, name, wanted, limits)
        if "kind" in task:
            cost += 8 * min(cost, wanted**2) * (task["kind"] == "png")  # to compress its pixels again
        if limits.cost is not None and cost > limits.cost:
            return {"outcome": "costly"}, b""
        if "kind" in task:
            return {"outcome": "done"}, draw(data, name, task["kind"], task["side"], enlarge=task["enlarge"])
        image = decode(data, name, ImageShape(*task["shape"]))
    except BadImage as error:
        if has_cause(error, MemoryError):
            raise MemoryError from error
        return {"outcome": "refused", "reason": error.reason}, b""
    head = {"sha256": hashlib.sha256(data).hexdigest(), "width": image.width, "height": image.height}
    return {"outcome": "done", **head}, image.pixels.tobytes()


def has_cause(error: BaseException, kind: type[BaseException]) -> bool:
    """Whether an error, or one that led to it, is of that kind."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, kind):
        seen = seen.__cause__
    return seen is not None


def draw(data: bytes, name: str, kind: Literal["jpg", "png"], side: int, *, enlarge: bool) -> bytes:
    """An image as a file of that kind, of at most `side` pixels a side.

    enlarge: a smaller image, by the largest integer factor that fits
    """
    if not enlarge:
        with decode_errors(name):
            side = min(side, max(open_header(data, name).size))
    pixels = thumbnail(data, name, side)
    return encode_jpeg(pixels) if kind == "jpg" else encode_png(pixels)


def check(data: bytes, name: str, wanted: int, limits: ProcessLimits) -> int:
    """What decoding costs, in the unit of `ProcessLimits`, from the header and the markers. Raises BadImage.

    wanted: the number of pixels a side to which it will be decoded
    """
    with decode_errors(name):
        scans = count_scans(data, name) if data.startswith(JPEG) else 0
        image = open_header(data, name)
        pixels = image.width * image.height
        if pixels > limits.pixels:
            raise BadImage(name, f"{image.width}×{image.height} pixels; at most {limits.pixels:,}; scale it down")
        several = scans > 1 or "progressive" in image.info
        needed = max(bytes_of(image, wanted), coefficient_bytes(image) if several else 0)
    if needed > limits.nbytes and limits.cost is not None:
        return limits.cost + 1
    if needed > limits.nbytes:
        most = f"more than {limits.nbytes / 10**6:,.0f} MB"
        raise BadImage(name, f"takes {needed / 10**6:,.0f} MB to decode, {most}; scale it down")
    if image.format != "JPEG":
        return int(pixels + len(data) // 2)
    return int((pixels // 8 + pixels * scans // 50 if several else pixels // 12) + len(data) // 10)


def coefficient_bytes(image: Image.Image) -> int:
    """Memory of a JPEG's coefficients, two bytes each, which are all kept if it has several scans."""
    layers: list[tuple[int, int, int, int]] = getattr(image, "layer", [])
    largest = max((h * v for _, h, v, _ in layers), default=1) or 1
    return sum(2 * image.width * image.height * h * v // largest for _, h, v, _ in layers)


def count_scans(data: bytes, name: str) -> int:
    """Number of scans of a JPEG. Raises BadImage if there are too many of them or of its segments."""
    at, scans = len(JPEG) - 1, 0
    for _ in range(MAX_MARKERS):
        found = _MARKER.search(data, at)
        if found is None or found[1] == _EOI:
            return scans
        at = found.end()
        if found[1] != _SOI:
            at += int.from_bytes(data[at : at + 2], "big")
        if found[1] == _SOS:
            scans += 1
            if scans > MAX_SCANS:
                raise BadImage(name, f"a JPEG with more than {MAX_SCANS} scans; save it again with another program")
    raise BadImage(name, f"a JPEG with more than {MAX_MARKERS:,} segments; save it again with another program")


if __name__ == "__main__":
    main()
