"""Limits the memory that decoding images takes, for all readers together."""

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from PIL import Image

from retrieval.errors import BadImage

if TYPE_CHECKING:
    from multiprocessing.context import BaseContext

MAX_DECODED = 10**9
"""Bytes that images being decoded at the same time may take, in all threads of a process or all readers of an ingest.

An image that takes more by itself is refused.
"""
SMALL = 16 * 10**6
"""Images that take at most this many bytes are decoded without waiting; a lock would take longer than decoding."""
_COPIES = {"WEBP": 12, "AVIF": 8, "HEIF": 8, "TIFF": 4, "JPEG": 3}
"""Bytes per pixel that a decoder holds in addition to Pillow's image, as measured; for JPEG, only progressive ones."""

Image.core.set_block_size(64 * 2**20)  # type: ignore[attr-defined]
"""Size of Pillow's memory blocks. The C library would keep freed blocks of up to 32 MiB, separately for each thread."""


class MemoryBudget:
    """A number of bytes that several threads or processes share."""

    def __init__(self, size: int, context: "BaseContext | None" = None) -> None:
        """Make a budget of `size` bytes.

        context: of the processes, which must get the budget as an argument; None: threads share it
        """
        self.size = size
        self._changed: Any = context.Condition() if context else threading.Condition()
        self._taken: Any = context.RawArray("q", 1) if context else [0]

    def take(self, size: int) -> None:
        """Wait until `size` bytes are free, or all are, and take them."""
        with self._changed:
            self._changed.wait_for(lambda: self._taken[0] == 0 or self._taken[0] + size <= self.size)
            self._taken[0] += size

    def give(self, size: int, _done: object = None) -> None:
        """Give `size` bytes back."""
        with self._changed:
            self._taken[0] -= size
            self._changed.notify_all()


_room = MemoryBudget(MAX_DECODED)


def set_budget(room: MemoryBudget) -> None:
    """Make this process decode within this budget from now on."""
    global _room
    _room = room


@contextlib.contextmanager
def reserve_memory(image: Image.Image, wanted: int, where: str) -> Iterator[None]:
    """Reserve memory for decoding an image inside the block; raises BadImage when it exceeds the whole budget.

    wanted: the number of pixels a side to which it will be decoded
    """
    needed = bytes_of(image, wanted)
    if needed > _room.size:
        raise BadImage(
            where,
            f"{image.width}x{image.height} pixels of {image.format} take {needed / 10**6:,.0f} MB to decode, more than"
            f" {_room.size / 10**6:,.0f} MB; scale it down, or save it as PNG or JPEG",
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
    """Bytes that decoding takes, from the header. A JPEG may be decoded at a lower resolution, down to `wanted`."""
    pixels: int = image.width * image.height
    each = 1 if image.mode in ("1", "L", "P") else 2 if image.mode.startswith("I;16") else 4
    if image.format != "JPEG":
        return pixels * (each + _COPIES.get(image.format or "", 0))
    half = min(8, max(1, min(image.size) // (2 * wanted)))
    shrunk: int = 2 ** (half.bit_length() - 1)
    return pixels * each // shrunk**2 + pixels * (_COPIES["JPEG"] if "progressive" in image.info else 0)
