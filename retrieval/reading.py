"""Entries of a source to pictures of a model's size: read, hashed and decoded by threads, in order, bounded."""

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from retrieval.errors import BadImage
from retrieval.images.decode import Picture, decode
from retrieval.sources import Entry

WINDOW = 1024
"""Images read ahead at most, whatever the source's size."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """An entry with its content's SHA-256 (hex) and its pixels."""

    entry: Entry
    sha256: str
    picture: Picture


@dataclass(frozen=True, slots=True)
class Refused:
    """An entry that cannot be used, and why; the run goes on without it."""

    entry: Entry
    reason: str

    def to_json(self) -> dict[str, str]:
        return {"source": self.entry.source, "path": self.entry.key, "reason": self.reason}


def read_pictures(entries: Iterable[Entry], size: tuple[int, int], channels: int) -> Iterator[Loaded | Refused]:
    """Each entry, in order, as pixels u8[height, width, channels] or as refused."""

    def load(entry: Entry) -> Loaded | Refused:
        try:
            data = entry.read()
            picture = decode(data, f"{entry.source}/{entry.key}", size, channels)
        except BadImage as error:
            return Refused(entry, error.reason)
        return Loaded(entry, hashlib.sha256(data).hexdigest(), picture)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        ahead: deque[Future[Loaded | Refused]] = deque()
        try:
            for entry in entries:
                ahead.append(pool.submit(load, entry))
                if len(ahead) >= WINDOW:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()
