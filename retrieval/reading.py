"""Entries of a source to pictures of a model's size: read, hashed and decoded by several at once, in order, bounded."""

import hashlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from retrieval.errors import BadImage
from retrieval.images.decode import Picture, decode
from retrieval.sources import Entry

T = TypeVar("T")

WINDOW = 1024
"""Images read ahead at most, whatever the source's size."""
WINDOW_BYTES = 64 * 2**20
"""Their pixels take no more."""
CHUNK = 16
"""Images that one worker gets at a time: handing over one by one would cost as much as decoding a small one."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """An entry with its content's SHA-256 (hex) and its pixels."""

    entry: Entry
    sha256: str
    picture: Picture


@dataclass(frozen=True, slots=True)
class Refused:
    """An entry that cannot be used, and why; the run goes on without it.

    lasting: it was read, and what is in it is at fault: it will be refused until it changes · again: an earlier run
    refused it, and it was not opened now.
    """

    entry: Entry
    reason: str
    lasting: bool = False
    again: bool = False

    def to_json(self) -> dict[str, str]:
        return {"source": self.entry.source, "path": self.entry.key, "reason": self.reason}


def read_pictures(
    items: Iterable[Entry | T], size: tuple[int, int], channels: int, *, workers: int = 0
) -> Iterator[Loaded | Refused | T]:
    """Each entry, in order, as pixels u8[height, width, channels] or as refused; what is no entry stays as it is.

    workers: processes that read, which pays for many small images on several cores, and wants entries whose `fetch`
    can be pickled; 0: threads, of which a remote source keeps many busy.
    """
    load = partial(load_chunk, size=size, channels=channels)
    window = max(2 * CHUNK, min(WINDOW, WINDOW_BYTES // (size[0] * size[1] * channels)))
    with pool(workers) as readers:
        ahead: deque[tuple[int, Future[list[Loaded | Refused]] | Sequence[T]]] = deque()
        waiting = 0
        try:
            for chunk in chunks(items):
                entries = [item for item in chunk if isinstance(item, Entry)]
                ahead.append((len(chunk), readers.submit(load, entries) if entries else chunk))  # type: ignore[arg-type]
                waiting += len(chunk)
                while waiting > window - CHUNK:
                    count, done = ahead.popleft()
                    waiting -= count
                    yield from done.result() if isinstance(done, Future) else done
            while ahead:
                done = ahead.popleft()[1]
                yield from done.result() if isinstance(done, Future) else done
        finally:
            for _, future in ahead:
                if isinstance(future, Future):
                    future.cancel()


def chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """Runs of at most CHUNK entries, or of what is no entry."""
    for _, run in itertools.groupby(items, lambda item: isinstance(item, Entry)):
        while chunk := list(itertools.islice(run, CHUNK)):
            yield chunk


def load_chunk(entries: Sequence[Entry], size: tuple[int, int], channels: int) -> list[Loaded | Refused]:
    """What a worker does."""
    return [load_one(entry, size, channels) for entry in entries]


def load_one(entry: Entry, size: tuple[int, int], channels: int) -> Loaded | Refused:
    """The entry as pixels, or refused."""
    try:
        data = entry.read()
    except BadImage as error:
        return Refused(entry, error.reason)
    try:
        picture = decode(data, f"{entry.source}/{entry.key}", size, channels)
    except BadImage as error:
        return Refused(entry, error.reason, lasting=True)
    return Loaded(entry, hashlib.sha256(data).hexdigest(), picture)


def pool(workers: int) -> Executor:
    """`workers` processes, or threads for 0."""
    if not workers:
        return ThreadPoolExecutor(min(8, os.cpu_count() or 1), "read")
    # not `fork`: JAX has threads; not `forkserver`: it is one more process that a kill -9 would leave behind
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=start_worker)


def start_worker() -> None:
    """Ctrl-C is the parent's to handle; a worker whose parent is gone ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
