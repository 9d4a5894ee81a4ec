"""Entries of a source to pictures of a model's size: read, hashed and decoded by several at once, in order, bounded."""

import contextlib
import hashlib
import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

from retrieval.errors import BadImage
from retrieval.images.decode import Picture, decode
from retrieval.images.quiet import quiet
from retrieval.sources import Entry

T = TypeVar("T")

WINDOW = 1024
"""Images read ahead at most, whatever the source's size."""
WINDOW_BYTES = 64 * 2**20
"""Their pixels take no more."""
CHUNK = 32
"""Images that one worker gets at a time: handing over one by one would cost as much as decoding a small one."""
THREADS = min(8, os.cpu_count() or 1)
"""More threads than cores only wait for each other, unless a remote source keeps them waiting: --workers."""
PROCESSES = 8
"""More would wait for the encoder."""
LAST_WORDS = 3
"""Seconds that a worker has after SIGTERM."""
FEW = 256
"""Images for which no processes are started: that takes as long as decoding some thousand small ones."""


class Good(NamedTuple):
    """What was read of an entry: its content's SHA-256 (hex) and its pixels."""

    sha256: str
    picture: Picture


class Bad(NamedTuple):
    """Why an entry cannot be used."""

    reason: str
    lasting: bool


Read = Good | Bad
Task = tuple[Callable[[], bytes], str]
"""Of an entry, what a worker needs: little, for it may travel to another process."""


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
    refused it too, and it was not opened now, or could not be read now either.
    """

    entry: Entry
    reason: str
    lasting: bool = False
    again: bool = False

    def to_json(self) -> dict[str, str]:
        return {"source": self.entry.source, "path": self.entry.key, "reason": self.reason}


def read_pictures(
    items: Iterable[Entry | T],
    size: tuple[int, int],
    channels: int,
    *,
    workers: int | None = None,
    portable: bool = False,
) -> Iterator[Loaded | Refused | T]:
    """Each entry, in order, as pixels u8[height, width, channels] or as refused; what is no entry stays as it is.

    workers: how many read at once, None: as it pays · portable: they may be processes, once there are more than FEW
    entries; small images keep Python itself busy, so that threads get in each other's way.
    """
    load = partial(load_chunk, size=size, channels=channels)
    if isinstance(items, list) and len(items) == 1:
        yield from read_here(items, size, channels)  # for one, a thread would take longer to start than to read
        return
    window = max(2 * CHUNK, min(WINDOW, WINDOW_BYTES // (size[0] * size[1] * channels)))
    ahead: deque[tuple[list[Entry | T], Future[list[Read]] | None]] = deque()
    waiting = started = 0
    with contextlib.ExitStack() as stack:
        readers: Executor = stack.enter_context(ThreadPoolExecutor(workers or THREADS, "read"))
        stack.callback(lambda: [future.cancel() for _, future in ahead if future])
        for chunk in chunks(items):
            if isinstance(chunk[0], Entry):
                if portable and started <= FEW < started + len(chunk):
                    readers = stack.enter_context(processes(workers or min(PROCESSES, os.cpu_count() or 1)))
                    stack.callback(lambda: [future.cancel() for _, future in ahead if future])
                started += len(chunk)
                tasks = [(e.fetch, f"{e.source}/{e.key}") for e in chunk if isinstance(e, Entry)]
                with ctrl_c_held_back():  # it may start a process, which would die of it before `start_worker`
                    ahead.append((chunk, readers.submit(load, tasks)))
            else:
                ahead.append((chunk, None))
            waiting += len(chunk)
            while waiting > window - CHUNK:
                waiting -= len(ahead[0][0])
                yield from finished(*ahead.popleft())
        while ahead:
            yield from finished(*ahead.popleft())


def read_here(items: Iterable[Entry | T], size: tuple[int, int], channels: int) -> Iterator[Loaded | Refused | T]:
    """The same in this thread, one after the other."""
    for item in items:
        if isinstance(item, Entry):
            (read,) = load_chunk([(item.fetch, f"{item.source}/{item.key}")], size, channels)
            yield Loaded(item, *read) if isinstance(read, Good) else Refused(item, *read)
        else:
            yield item


def finished(chunk: list[Entry | T], read: Future[list[Read]] | None) -> Iterator[Loaded | Refused | T]:
    """A chunk once it is read; one without entries as it is."""
    if read is None:
        yield from chunk  # type: ignore[misc]
        return
    for entry, result in zip(chunk, read.result(), strict=True):
        assert isinstance(entry, Entry)
        yield Loaded(entry, *result) if isinstance(result, Good) else Refused(entry, *result)


def chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """Runs of at most CHUNK entries, or of what is no entry."""
    for _, run in itertools.groupby(items, lambda item: isinstance(item, Entry)):
        while chunk := list(itertools.islice(run, CHUNK)):
            yield chunk


def load_chunk(tasks: Sequence[Task], size: tuple[int, int], channels: int) -> list[Read]:
    """What a worker does."""
    with quiet():
        return [load_one(fetch, where, size, channels) for fetch, where in tasks]


def load_one(fetch: Callable[[], bytes], where: str, size: tuple[int, int], channels: int) -> Read:
    """What an entry's `fetch` gives, read; `where` names it."""
    try:
        data = fetch()
    except BadImage as error:
        return Bad(error.reason, lasting=False)
    try:
        picture = decode(data, where, size, channels)
    except BadImage as error:
        return Bad(error.reason, lasting=True)
    return Good(hashlib.sha256(data).hexdigest(), picture)


def processes(number: int) -> Executor:
    """Not forked, since JAX has threads; not of a fork server, which a kill -9 would leave behind."""
    return ProcessPoolExecutor(number, multiprocessing.get_context("spawn"), initializer=start_worker)


@contextlib.contextmanager
def ctrl_c_held_back() -> Iterator[None]:
    """From this thread and from processes that it starts; where the system knows no such mask, from nobody."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_worker() -> None:
    """Ctrl-C and SIGTERM are the parent's to handle; a worker whose parent is gone ends.

    One that died while it hands over a result would leave its parent waiting for the rest of that for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(LAST_WORDS))
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
