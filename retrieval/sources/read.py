"""Read, hash and decode the entries of a source to images of the model's size: concurrently, in order, bounded."""

import contextlib
import faulthandler
import hashlib
import itertools
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard, TypeVar

from retrieval.errors import BadImage, RetrievalError
from retrieval.images.decode import DecodedImage, decode
from retrieval.images.memory import MAX_DECODED, MemoryBudget, set_budget
from retrieval.images.warnings import suppress_warnings
from retrieval.schema.image_shape import ImageShape
from retrieval.schema.records import STALE
from retrieval.sources import Entry

T = TypeVar("T")

WINDOW = 1024
"""Maximum number of images read ahead."""
WINDOW_BYTES = 64 * 2**20
"""Maximum bytes of their pixels."""
CHUNK = 32
"""Images per task: handing over a single small image would cost as much as decoding it."""
THREADS = min(8, os.cpu_count() or 1)
"""Default number of threads. More than the cores help only with a slow remote source: --workers."""
PROCESSES = 8
"""Maximum number of processes; more would wait for the encoder."""
STOP_SECONDS = 3
"""Seconds that a worker has to finish after SIGTERM."""
FETCHED_BYTES = 64 * 2**20
"""Maximum bytes of image files that are fetched but not yet decoded; a single file may be larger."""
PART_BYTES = 4 * 2**20
"""Maximum bytes of fetched images in one task for a decoder; a single file may be larger."""
DECODE_SECONDS = 300.0
"""Time limit of a process for one task, whether CHUNK images or a single one."""


class Decoded(NamedTuple):
    """An entry that was read: its content's SHA-256 (hex) and its pixels."""

    sha256: str
    image: DecodedImage


class Failed(NamedTuple):
    """Why an entry cannot be used.

    lasting: the content is at fault, so that the entry is unusable until it changes
    """

    reason: str
    lasting: bool


ReadResult = Decoded | Failed
Task = tuple[Callable[[], bytes], str]
"""An entry's `fetch` and name: all that a worker needs, and small, because it may be sent to another process."""
GetResults = Callable[[], list[ReadResult]]
"""Waits for a task and returns its results."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """An entry with its content's SHA-256 (hex) and its pixels."""

    entry: Entry
    sha256: str
    image: DecodedImage


@dataclass(frozen=True, slots=True)
class Refused:
    """An entry that cannot be used, and why; the run continues without it.

    lasting: the content is at fault, so that the entry will be refused until it changes
    again: an earlier run refused it too; now it was skipped, or could not be read either
    held: the collection has a point of it from when it was readable
    """

    entry: Entry
    reason: str
    lasting: bool = False
    again: bool = False
    held: bool = False

    @property
    def stale(self) -> bool:
        """Whether the collection has a point of an image that is now unusable."""
        return self.held and self.lasting

    def to_json(self) -> dict[str, Any]:
        stale = {STALE: True} if self.stale else {}
        return {"source": self.entry.source, "path": self.entry.key, "reason": self.reason, **stale}


def read_images(
    items: Iterable[Entry | T | None],
    shape: ImageShape,
    *,
    workers: int | None = None,
    portable: bool | None = None,
) -> Iterator[Loaded | Refused | T]:
    """Read the entries, in order, as pixels of that shape; items that are not entries pass unchanged.

    items: None is not passed on; it starts reading what came before
    workers: number of readers (default: by the number of cores)
    portable: decode in separate processes: an image that crashes the decoder is then refused and the others are read,
        and small images do not keep this interpreter busy. True: the processes also fetch the images; False: this
        process fetches them. None: decode in threads, where a crash ends this process
    """
    if isinstance(items, list) and len(items) == 1 and portable is None:
        yield from read_serially(items, shape)  # starting a thread would take longer than reading one image
        return
    window = max(2 * CHUNK, min(WINDOW, WINDOW_BYTES // shape.nbytes))
    ahead: deque[tuple[list[Entry | T], GetResults | None]] = deque()
    waiting = 0
    with contextlib.closing(Reader(shape, workers, portable)) as reader:
        for chunk in split_chunks(items):
            ahead.append((chunk, reader.begin(chunk) if holds_entries(chunk) else None))
            waiting += len(chunk)
            while waiting > window - CHUNK:
                waiting -= len(ahead[0][0])
                yield from collect(*ahead.popleft())
        while ahead:
            yield from collect(*ahead.popleft())


def read_serially(items: Iterable[Entry | T], shape: ImageShape) -> Iterator[Loaded | Refused | T]:
    """As `read_images`, in this thread, one image after the other."""
    for item in items:
        if isinstance(item, Entry):
            read = load_one(item.fetch, item.name, shape)
            yield Loaded(item, *read) if isinstance(read, Decoded) else Refused(item, *read)
        else:
            yield item


def holds_entries(chunk: list[Entry | T]) -> TypeGuard[list[Entry]]:
    """Whether a chunk is one of entries; its items are all of one kind."""
    return isinstance(chunk[0], Entry)


def collect(chunk: list[Entry | T], read: GetResults | None) -> Iterator[Loaded | Refused | T]:
    """Wait until a chunk is read; a chunk without entries passes unchanged."""
    if read is None:
        yield from chunk  # type: ignore[misc]
        return
    for entry, result in zip(chunk, read(), strict=True):
        assert isinstance(entry, Entry)
        yield Loaded(entry, *result) if isinstance(result, Decoded) else Refused(entry, *result)


def split_chunks(items: Iterable[Entry | T | None]) -> Iterator[list[Entry | T]]:
    """Split at None, and into at most CHUNK items of a kind: entries to be read in turn, other entries, other items."""
    for (ends, _), run in itertools.groupby(items, lambda item: (item is None, getattr(item, "in_turn", None))):
        while chunk := list(itertools.islice(run, CHUNK)):
            if not ends:
                yield chunk  # type: ignore[misc]


class Reader:
    """Reads several chunks of entries at once; entries that must be read in turn are fetched by one thread."""

    def __init__(self, shape: ImageShape, workers: int | None, portable: bool | None) -> None:
        """As for `read_images`."""
        load = partial(load_chunk, shape=shape)
        self._workers_fetch = portable is True
        self._decoders: Threads | Processes
        if portable is None:
            self._decoders = Threads(workers or THREADS, load)
        else:
            most = min(PROCESSES, os.cpu_count() or 1)
            self._decoders = Processes((workers or most) if portable else min(workers or most, most), load, portable)
        self._fetchers = ThreadPoolExecutor(workers or THREADS, "fetch")
        self._in_turn = ThreadPoolExecutor(1, "fetch")
        self._budget = MemoryBudget(FETCHED_BYTES)

    def begin(self, entries: Sequence[Entry]) -> GetResults:
        """Start reading a chunk, whose entries must all, or none, be read in turn."""
        tasks: list[Task] = [(entry.fetch, entry.name) for entry in entries]
        in_turn = entries[0].in_turn
        if not in_turn and (self._workers_fetch or isinstance(self._decoders, Threads)):
            return partial(self._decoders.finish, self._decoders.begin(tasks), tasks)
        fetching = (self._in_turn if in_turn else self._fetchers).submit(self._fetch_and_begin, tasks)
        return lambda: [read for started, part in fetching.result() for read in self._decoders.finish(started, part)]

    def close(self) -> None:
        """Stop; tasks that have not started are dropped."""
        self._in_turn.shutdown(cancel_futures=True)
        self._fetchers.shutdown(cancel_futures=True)
        self._decoders.close()

    def _fetch_and_begin(self, tasks: Sequence[Task]) -> list[tuple[Future[list[ReadResult]], list[Task]]]:
        """Fetch the images here and start decoding them, a part at a time, within the budget of FETCHED_BYTES.

        Returns each part's future with its original tasks.
        """
        started, part, originals, size = [], list[Task](), list[Task](), 0
        for task in tasks:
            held, fetched = fetch_here(task)
            part.append(fetched)
            originals.append(task)
            size += held
            if size >= PART_BYTES or task is tasks[-1]:
                self._budget.take(size)
                future = self._decoders.begin(part)
                future.add_done_callback(partial(self._budget.give, size))
                started.append((future, originals))
                part, originals, size = [], [], 0
        return started


class Threads:
    """Reads in threads."""

    def __init__(self, number: int, load: Callable[[Sequence[Task]], list[ReadResult]]) -> None:
        self._pool, self._load = ThreadPoolExecutor(number, "read"), load

    def begin(self, tasks: Sequence[Task]) -> Future[list[ReadResult]]:
        return self._pool.submit(self._load, tasks)

    def finish(self, started: Future[list[ReadResult]], _tasks: Sequence[Task]) -> list[ReadResult]:
        return started.result()

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


class Processes:
    """Reads in processes. If one dies, only the image that it was decoding is refused.

    A bug in a decoder, or lack of memory, kills a process and breaks the whole pool. The pool's unfinished chunks are
    then read again, image by image, in a separate process, while other chunks are read in a new pool.
    """

    def __init__(self, number: int, load: Callable[[Sequence[Task]], list[ReadResult]], portable: bool) -> None:
        """portable: the processes fetch the images; otherwise the tasks hold the images' bytes."""
        self._number, self._portable = number, portable
        self._load = partial(load_with_time_limit, load, DECODE_SECONDS)
        self._turn = threading.Lock()
        self._pool = start_pool(number)
        self._isolated: Executor | None = None

    def begin(self, tasks: Sequence[Task]) -> Future[list[ReadResult]]:
        with self._turn, block_ctrl_c():  # this may start a process, which Ctrl-C would kill before `start_worker`
            try:
                return self._pool.submit(self._load, tasks)
            except BrokenExecutor:
                self._pool.shutdown(wait=False)
                self._pool = start_pool(self._number)
                return self._pool.submit(self._load, tasks)

    def finish(self, started: Future[list[ReadResult]], tasks: Sequence[Task]) -> list[ReadResult]:
        try:
            return started.result()
        except BrokenExecutor:
            return [self._read_alone(task) for task in tasks]

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        if self._isolated:
            self._isolated.shutdown()

    def _read_alone(self, task: Task) -> ReadResult:
        """Read one image by itself; it is refused if a fresh process dies while reading it."""
        if not self._portable:
            _, task = fetch_here(task)
        while True:
            fresh = self._isolated is None
            with block_ctrl_c():
                self._isolated = self._isolated or start_one_process()
            began = time.monotonic()
            try:
                with block_ctrl_c():
                    reading = self._isolated.submit(self._load, [task])
                return reading.result()[0]
            except BrokenExecutor:
                self._isolated.shutdown(wait=False)
                self._isolated = None
                if fresh and time.monotonic() - began >= DECODE_SECONDS:
                    return Failed(f"opening it took longer than {DECODE_SECONDS:.0f} s", lasting=False)
                if fresh:
                    return Failed(DIED, lasting=True)


DIED = "the reader process died while decoding it; save it again with another program, or retry with --retry-failed"


def start_one_process() -> Executor:
    """Start a process and wait until it works; raises RetrievalError if it dies at once."""
    pool = start_pool(1)
    try:
        pool.submit(os.getpid).result()
    except BrokenExecutor as error:
        raise RetrievalError("reader processes die when they start", hint="check the free memory") from error
    return pool


def fetch_here(task: Task) -> tuple[int, Task]:
    """Fetch a task's image here; returns its size, and a task that holds its bytes or the error."""
    fetch, where = task
    try:
        data = fetch()
    except BadImage as error:
        return 0, (partial(raise_bad_image, error.where, error.reason), where)
    return len(data), (partial(bytes, data), where)


def raise_bad_image(where: str, reason: str) -> bytes:
    """Stands in for a `fetch` that failed; raises BadImage."""
    raise BadImage(where, reason)


def load_with_time_limit(
    load: Callable[[Sequence[Task]], list[ReadResult]], seconds: float, tasks: Sequence[Task]
) -> list[ReadResult]:
    """As `load`; the process exits after `seconds`, because Python code cannot interrupt a decoder that hangs."""
    with Path(os.devnull).open("w") as nowhere:
        faulthandler.dump_traceback_later(seconds, exit=True, file=nowhere)
        try:
            return load(tasks)
        finally:
            faulthandler.cancel_dump_traceback_later()


def load_chunk(tasks: Sequence[Task], shape: ImageShape) -> list[ReadResult]:
    """Read the images of a chunk, without the decoders' warnings."""
    with suppress_warnings():
        return [load_one(fetch, where, shape) for fetch, where in tasks]


def load_one(fetch: Callable[[], bytes], where: str, shape: ImageShape) -> ReadResult:
    """Fetch and decode one image.

    where: its name, for messages
    """
    try:
        data = fetch()
    except BadImage as error:
        return Failed(error.reason, lasting=False)
    try:
        image = decode(data, where, shape)
    except BadImage as error:
        return Failed(error.reason, lasting=True)
    return Decoded(hashlib.sha256(data).hexdigest(), image)


def start_pool(number: int) -> Executor:
    """A pool of spawned processes: JAX's threads forbid forking, and a fork server would survive a kill -9."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(number, spawn, initializer=start_worker, initargs=(MemoryBudget(MAX_DECODED, spawn),))


@contextlib.contextmanager
def block_ctrl_c() -> Iterator[None]:
    """Block SIGINT for this thread and the processes that it starts; does nothing on systems without signal masks."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start_worker(budget: MemoryBudget) -> None:
    """Set up a worker process: it leaves Ctrl-C to its parent, delays SIGTERM, and exits when its parent is gone.

    SIGTERM is delayed because a worker killed while sending a result would leave its parent waiting forever.

    budget: memory that the pool's processes may use for decoding in total
    """
    set_budget(budget)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(STOP_SECONDS))
    import multiprocessing

    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
