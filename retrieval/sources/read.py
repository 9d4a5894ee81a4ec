"""Entries of a source to pictures of a model's size: read, hashed and decoded by several at once, in order, bounded."""

import contextlib
import faulthandler
import hashlib
import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard, TypeVar

from retrieval.errors import BadImage, RetrievalError
from retrieval.images.decode import DecodedImage, decode
from retrieval.images.memory import MAX_DECODED, MemoryBudget, set_budget
from retrieval.images.warnings import quiet
from retrieval.schema.records import STALE
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
STOP_SECONDS = 3
"""Seconds that a worker has after SIGTERM."""
FETCHED_BYTES = 64 * 2**20
"""Of image files fetched here and not decoded yet, there or in a thread; one of them may be larger."""
PART_BYTES = 4 * 2**20
"""Fetched images are handed on together up to this size."""
DECODE_SECONDS = 300.0
"""Seconds after which a process that reads CHUNK images, or one by itself, is given up."""


class Decoded(NamedTuple):
    """What was read of an entry: its content's SHA-256 (hex) and its pixels."""

    sha256: str
    image: DecodedImage


class Failed(NamedTuple):
    """Why an entry cannot be used."""

    reason: str
    lasting: bool


ReadResult = Decoded | Failed
Task = tuple[Callable[[], bytes], str]
"""Of an entry, what a worker needs, its `fetch` and its name: little, for it may travel to another process."""
GetResults = Callable[[], list[ReadResult]]
"""Waits for what was begun, and gives what was read."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """An entry with its content's SHA-256 (hex) and its pixels."""

    entry: Entry
    sha256: str
    image: DecodedImage


@dataclass(frozen=True, slots=True)
class Refused:
    """An entry that cannot be used, and why; the run goes on without it.

    lasting: it was read, and what is in it is at fault: it will be refused until it changes · again: an earlier run
    refused it too, and it was not opened now, or could not be read now either · held: the collection holds it as it was
    when it was good.
    """

    entry: Entry
    reason: str
    lasting: bool = False
    again: bool = False
    held: bool = False

    @property
    def stale(self) -> bool:
        """Whether what the collection holds of it is no image's any more."""
        return self.held and self.lasting

    def to_json(self) -> dict[str, Any]:
        stale = {STALE: True} if self.stale else {}
        return {"source": self.entry.source, "path": self.entry.key, "reason": self.reason, **stale}


def read_images(
    items: Iterable[Entry | T],
    size: tuple[int, int],
    channels: int,
    *,
    workers: int | None = None,
    portable: bool | None = None,
) -> Iterator[Loaded | Refused | T]:
    """Each entry, in order, as pixels u8[height, width, channels] or as refused; what is no entry stays as it is.

    workers: how many read at once, None: as it pays · portable: decode in processes of their own, so that an image at
    which the decoder crashes is refused and the others are read, and so that small images do not keep this Python
    busy; True lets them fetch the images too, False has them fetched here. None: decode in threads, where a crash is
    this process's own.
    """
    if isinstance(items, list) and len(items) == 1 and portable is None:
        yield from read_serially(items, size, channels)  # for one, a thread would take longer to start than to read
        return
    window = max(2 * CHUNK, min(WINDOW, WINDOW_BYTES // (size[0] * size[1] * channels)))
    ahead: deque[tuple[list[Entry | T], GetResults | None]] = deque()
    waiting = 0
    with contextlib.closing(Reader(size, channels, workers, portable)) as reader:
        for chunk in split_chunks(items):
            ahead.append((chunk, reader.begin(chunk) if holds_entries(chunk) else None))
            waiting += len(chunk)
            while waiting > window - CHUNK:
                waiting -= len(ahead[0][0])
                yield from collect(*ahead.popleft())
        while ahead:
            yield from collect(*ahead.popleft())


def read_serially(items: Iterable[Entry | T], size: tuple[int, int], channels: int) -> Iterator[Loaded | Refused | T]:
    """The same in this thread, one after the other."""
    for item in items:
        if isinstance(item, Entry):
            (read,) = load_chunk([(item.fetch, item.name)], size, channels)
            yield Loaded(item, *read) if isinstance(read, Decoded) else Refused(item, *read)
        else:
            yield item


def holds_entries(chunk: list[Entry | T]) -> TypeGuard[list[Entry]]:
    """By the first: a chunk is all of one kind."""
    return isinstance(chunk[0], Entry)


def collect(chunk: list[Entry | T], read: GetResults | None) -> Iterator[Loaded | Refused | T]:
    """A chunk once it is read; one without entries as it is."""
    if read is None:
        yield from chunk  # type: ignore[misc]
        return
    for entry, result in zip(chunk, read(), strict=True):
        assert isinstance(entry, Entry)
        yield Loaded(entry, *result) if isinstance(result, Decoded) else Refused(entry, *result)


def split_chunks(items: Iterable[T]) -> Iterator[list[T]]:
    """Runs of at most CHUNK entries, of which all or none are to be read in turn, or of what is no entry."""
    for _, run in itertools.groupby(items, lambda item: isinstance(item, Entry) and (True, item.in_turn)):
        while chunk := list(itertools.islice(run, CHUNK)):
            yield chunk


class Reader:
    """Reads chunks of entries, several at once; what is to be read in turn is fetched by one thread."""

    def __init__(self, size: tuple[int, int], channels: int, workers: int | None, portable: bool | None) -> None:
        """As for `read_images`."""
        load = partial(load_chunk, size=size, channels=channels)
        self._there = portable is True
        self._decoders: Threads | Processes
        if portable is None:
            self._decoders = Threads(workers or THREADS, load)
        else:
            most = min(PROCESSES, os.cpu_count() or 1)
            self._decoders = Processes((workers or most) if portable else min(workers or most, most), load, portable)
        self._fetchers = ThreadPoolExecutor(workers or THREADS, "fetch")
        self._in_turn = ThreadPoolExecutor(1, "fetch")
        self._room = MemoryBudget(FETCHED_BYTES)

    def begin(self, entries: Sequence[Entry]) -> GetResults:
        """Entries that are all, or none, to be read in turn."""
        tasks: list[Task] = [(entry.fetch, entry.name) for entry in entries]
        in_turn = entries[0].in_turn
        if not in_turn and (self._there or isinstance(self._decoders, Threads)):
            return partial(self._decoders.finish, self._decoders.begin(tasks), tasks)
        fetching = (self._in_turn if in_turn else self._fetchers).submit(self._fetched, tasks)
        return lambda: [read for begun, part in fetching.result() for read in self._decoders.finish(begun, part)]

    def close(self) -> None:
        """What was not begun is dropped."""
        self._in_turn.shutdown(cancel_futures=True)
        self._fetchers.shutdown(cancel_futures=True)
        self._decoders.close()

    def _fetched(self, tasks: Sequence[Task]) -> list[tuple[Future[list[ReadResult]], list[Task]]]:
        """Fetch here and hand on a part at a time, no more than there is room for: what was begun, with its tasks."""
        begun, part, of, size = [], list[Task](), list[Task](), 0
        for task in tasks:
            held, fetched = fetch_here(task)
            part.append(fetched)
            of.append(task)
            size += held
            if size >= PART_BYTES or task is tasks[-1]:
                self._room.take(size)
                future = self._decoders.begin(part)
                future.add_done_callback(partial(self._room.give, size))
                begun.append((future, of))
                part, of, size = [], [], 0
        return begun


class Threads:
    """Threads that read."""

    def __init__(self, number: int, load: Callable[[Sequence[Task]], list[ReadResult]]) -> None:
        self._pool, self._load = ThreadPoolExecutor(number, "read"), load

    def begin(self, tasks: Sequence[Task]) -> Future[list[ReadResult]]:
        return self._pool.submit(self._load, tasks)

    def finish(self, begun: Future[list[ReadResult]], _tasks: Sequence[Task]) -> list[ReadResult]:
        return begun.result()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


class Processes:
    """Processes that read. One that dies costs the image at which it died, and no other.

    A decoder's defect, or the system short of memory, ends a process and breaks its pool, whoever is at fault. The
    chunks that were on their way are then read once more, image by image, in a process that does nothing else, while
    others go on in a new pool.
    """

    def __init__(self, number: int, load: Callable[[Sequence[Task]], list[ReadResult]], portable: bool) -> None:
        """portable: they can fetch what they are told to; else it is fetched here."""
        self._number, self._portable = number, portable
        self._load = partial(load_with_time_limit, load, DECODE_SECONDS)
        self._turn = threading.Lock()
        self._pool = start_pool(number)
        self._careful: Executor | None = None

    def begin(self, tasks: Sequence[Task]) -> Future[list[ReadResult]]:
        with self._turn, block_ctrl_c():  # it may start a process, which would die of it before `start_worker`
            try:
                return self._pool.submit(self._load, tasks)
            except BrokenExecutor:
                self._pool.shutdown(wait=False)
                self._pool = start_pool(self._number)
                return self._pool.submit(self._load, tasks)

    def finish(self, begun: Future[list[ReadResult]], tasks: Sequence[Task]) -> list[ReadResult]:
        try:
            return begun.result()
        except BrokenExecutor:
            return [self._alone(task) for task in tasks]

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        if self._careful:
            self._careful.shutdown()

    def _alone(self, task: Task) -> ReadResult:
        """Read one image by itself; it is refused when a process dies of it that has read nothing else."""
        if not self._portable:
            _, task = fetch_here(task)
        while True:
            fresh = self._careful is None
            with block_ctrl_c():
                self._careful = self._careful or start_one_process()
            began = time.monotonic()
            try:
                with block_ctrl_c():
                    reading = self._careful.submit(self._load, [task])
                return reading.result()[0]
            except BrokenExecutor:
                self._careful.shutdown(wait=False)
                self._careful = None
                if fresh and time.monotonic() - began >= DECODE_SECONDS:
                    return Failed(
                        f"opening it took longer than {DECODE_SECONDS:.0f} s, and was given up", lasting=False
                    )
                if fresh:
                    return Failed(DIED, lasting=True)


DIED = "the reader process died while decoding it; save it anew with another program, or try again with --retry-failed"


def start_one_process() -> Executor:
    """A process that works; raises RetrievalError when it dies of nothing."""
    pool = start_pool(1)
    try:
        pool.submit(os.getpid).result()
    except BrokenExecutor as error:
        raise RetrievalError("processes that read images die as they start", hint="is there memory left?") from error
    return pool


def fetch_here(task: Task) -> tuple[int, Task]:
    """The same task without its way: its bytes, or why there are none, are here already. And how many they are."""
    fetch, where = task
    try:
        data = fetch()
    except BadImage as error:
        return 0, (partial(raise_bad_image, error.where, error.reason), where)
    return len(data), (partial(bytes, data), where)


def raise_bad_image(where: str, reason: str) -> bytes:
    """What fetching an image came to."""
    raise BadImage(where, reason)


def load_with_time_limit(
    load: Callable[[Sequence[Task]], list[ReadResult]], seconds: float, tasks: Sequence[Task]
) -> list[ReadResult]:
    """What a process does, which ends itself when that takes longer: no Python could end a decoder that hangs."""
    with Path(os.devnull).open("w") as nowhere:
        faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
        try:
            return load(tasks)
        finally:
            faulthandler.cancel_dump_traceback_later()


def load_chunk(tasks: Sequence[Task], size: tuple[int, int], channels: int) -> list[ReadResult]:
    """What a worker does."""
    with quiet():
        return [load_one(fetch, where, size, channels) for fetch, where in tasks]


def load_one(fetch: Callable[[], bytes], where: str, size: tuple[int, int], channels: int) -> ReadResult:
    """What an entry's `fetch` gives, read; `where` names it."""
    try:
        data = fetch()
    except BadImage as error:
        return Failed(error.reason, lasting=False)
    try:
        image = decode(data, where, size, channels)
    except BadImage as error:
        return Failed(error.reason, lasting=True)
    return Decoded(hashlib.sha256(data).hexdigest(), image)


def start_pool(number: int) -> Executor:
    """Not forked, since JAX has threads; not of a fork server, which a kill -9 would leave behind."""
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(number, spawn, initializer=start_worker, initargs=(MemoryBudget(MAX_DECODED, spawn),))


@contextlib.contextmanager
def block_ctrl_c() -> Iterator[None]:
    """From this thread and from processes that it starts; where the system knows no such mask, from nobody."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_worker(room: MemoryBudget) -> None:
    """Ctrl-C and SIGTERM are the parent's to handle; a worker whose parent is gone ends.

    One that died while it hands over a result would leave its parent waiting for the rest of that for ever.
    room: the memory that the pool's processes may take for decoding, all together.
    """
    set_budget(room)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(STOP_SECONDS))
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
