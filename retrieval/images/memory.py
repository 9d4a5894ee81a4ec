"""How much memory the decoding of images may take, all readers together."""

import contextlib
import threading
from collections.abc import Iterator
from multiprocessing.context import BaseContext
from typing import Any

from PIL import Image

from retrieval.errors import BadImage

MAX_DECODED = 10**9
"""Bytes that images take while they are decoded, all those at once in the threads of a process, or in the processes
that read for an ingest; an image that takes more by itself is refused."""
SMALL = 16 * 10**6
"""Bytes up to which an image does not wait for the others: a lock would take longer than to decode it."""
_COPIES = {"WEBP": 12, "AVIF": 8, "HEIF": 8, "TIFF": 4, "JPEG": 3}
"""Bytes a pixel that a decoder holds beside Pillow's image, as measured; a JPEG only where it is a progressive one."""

Image.core.set_block_size(64 * 2**20)  # type: ignore[attr-defined]
"""Pillow's unit of memory. The C library keeps freed units of up to 32 MiB to itself, for each thread its own."""


class MemoryBudget:
    """A number of bytes that several threads share, or several processes."""

    def __init__(self, size: int, context: BaseContext | None = None) -> None:
        """context: of the processes, which get the room as an argument of theirs."""
        self._size = size
        self._changed: Any = context.Condition() if context else threading.Condition()
        self._taken: Any = context.RawArray("q", 1) if context else [0]

    def take(self, size: int) -> None:
        """Wait until so many are free, or all are."""
        with self._changed:
            self._changed.wait_for(lambda: self._taken[0] == 0 or self._taken[0] + size <= self._size)
            self._taken[0] += size

    def give(self, size: int, _done: object = None) -> None:
        """Give them back."""
        with self._changed:
            self._taken[0] -= size
            self._changed.notify_all()


_room = MemoryBudget(MAX_DECODED)


def set_budget(room: MemoryBudget) -> None:
    """What this process decodes takes its memory out of this room from now on."""
    global _room
    _room = room


@contextlib.contextmanager
def memory_for(image: Image.Image, wanted: int, where: str) -> Iterator[None]:
    """Decode the image inside, once there is room for it; raises BadImage when there could never be."""
    needed = bytes_of(image, wanted)
    if needed > MAX_DECODED:
        raise BadImage(
            where,
            f"{image.width}x{image.height} pixels of a {image.format} take {needed / 10**6:,.0f} MB to decode; at most"
            f" {MAX_DECODED / 10**6:,.0f} MB; scale it down, or save it as PNG or JPEG",
        )
    if needed <= SMALL:
        yield
        return
    _room.take(needed)
    try:
        yield
    finally:
        _room.give(needed)


def bytes_of(image: Image.Image, wanted: int) -> int:
    """What decoding it takes, from its header; of a JPEG, to be seen at `wanted` pixels a side, Pillow decodes less."""
    pixels: int = image.width * image.height
    each = 1 if image.mode in ("1", "L", "P") else 2 if image.mode.startswith("I;16") else 4
    if image.format != "JPEG":
        return pixels * (each + _COPIES.get(image.format or "", 0))
    half = min(8, max(1, min(image.size) // (2 * wanted)))
    shrunk: int = 2 ** (half.bit_length() - 1)
    return pixels * each // shrunk**2 + pixels * (_COPIES["JPEG"] if "progressive" in image.info else 0)
