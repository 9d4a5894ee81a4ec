"""Run an ingest on a Ray cluster: actors process the pages of the listings.

If an actor dies, Ray starts it again and runs its pages again, which writes the same points: their ids depend only on
the images' names.
"""

import contextlib
import logging
import os
import socket
import sys
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from retrieval import errors
from retrieval.errors import RetrievalError, UsageError
from retrieval.ingest.ray.worker import PageResult, Rows, Worker, WorkerJob
from retrieval.util.extras import needs

STORE_BYTES = 512 * 2**20
"""Object store of a Ray that is started here; the pages in flight take about a thousandth of it."""
START_SECONDS = 300
"""Time for the first worker to start on a busy cluster."""
CONNECT_SECONDS = 10
AT_ONCE = 2
"""Pages that an actor processes at once: it encodes one while it writes another."""
ERROR = ("error", "message", "hint", "option")
"""Fields that carry an error through Ray."""
SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",
}
"""No usage report, no log on the terminal, and workers of the command's own priority instead of the lowest."""


def work_on_ray(
    job: WorkerJob, pages: Iterator[tuple[str, Rows]], address: str | None, workers: int | None
) -> Iterator[PageResult]:
    """Process pages of the listings on Ray; yields the result of each, in any order.

    job: what every worker is given
    pages: a source's name and some of its images
    address: of a running Ray cluster, or `auto` for the one that this machine belongs to; None starts one here, which
        ends with this run
    workers: number of actors (default: one for each GPU, without GPUs one for each processor)

    Raises UsageError if Ray is not installed or does not answer, errors that a worker raised, and RetrievalError when
    Ray gives up or starts no worker in START_SECONDS.
    """
    with start_ray(address) as ray:
        resources = ray.cluster_resources()
        cpus, gpus = int(resources.get("CPU", 1)), int(resources.get("GPU", 0))
        size = workers or gpus or max(1, cpus)
        made = ray.remote(
            num_cpus=min(1, cpus / size),
            num_gpus=min(1, gpus / size),
            max_concurrency=AT_ONCE,
            max_restarts=-1,
            max_task_retries=-1,
        )(Actor)
        shared = ray.put(job)
        actors = [made.remote(shared) for _ in range(size)]
        free, running = deque(actors * AT_ONCE), dict[Any, Any]()

        def take_done(seconds: float | None) -> Iterator[PageResult]:
            done, _ = ray.wait(list(running), timeout=seconds)
            for each in done:
                free.append(running.pop(each))
                yield unpack_result(ray.get(each))

        try:
            if not ray.wait([actor.start.remote() for actor in actors], timeout=START_SECONDS)[0]:
                raise RetrievalError(f"Ray started no worker within {START_SECONDS} s", hint="check its free resources")
            for source, rows in pages:
                while not free:
                    yield from take_done(None)
                actor = free.popleft()
                running[actor.work.remote(source, rows)] = actor
                yield from take_done(0)
            while running:
                yield from take_done(None)
        except ray.exceptions.RayError as error:
            raise RetrievalError(
                f"Ray gave up: {' '.join(str(error).split())[-300:]}; what was stored is kept",
                hint="run the same command again",
            ) from error


@contextlib.contextmanager
def start_ray(address: str | None) -> Iterator[Any]:
    """Connect to the Ray cluster at the address, or start one, for the duration of the block."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    with needs("ray", "it", option="runner"):
        import ray
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    if address:
        check_reach(address)
    here: dict[str, Any] = {"include_dashboard": False, "object_store_memory": STORE_BYTES}
    try:
        with silence_stderr():
            ray.init(
                address or "local", log_to_driver=False, logging_level=logging.CRITICAL, **({} if address else here)
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"Ray at {address}" if address else "Ray"
        hint = "if it asks for a token, set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN" if address else ""
        raise UsageError(f"{where} did not start or answer: {' '.join(str(error).split())[:300]}", hint=hint) from error
    with contextlib.redirect_stdout(sys.stderr):  # Ray writes to stdout when it runs a page again
        try:
            yield ray
        finally:
            ray.shutdown()


def check_reach(address: str) -> None:
    """Raise UsageError unless something listens at the address; Ray itself would silently retry for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"no Ray answers at {address} ({error})", option="address", hint="give HOST:PORT of its head node"
        ) from error


@contextlib.contextmanager
def silence_stderr() -> Iterator[None]:
    """Discard what the block writes to file descriptor 2, where the C++ part of Ray writes a line when it starts."""
    sys.stderr.flush()
    before = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)


class Actor:
    """A worker in a process of its own. If it dies, Ray starts it again and gives it the same pages."""

    def __init__(self, job: WorkerJob) -> None:
        """Load JAX and the model in a thread, while sources are being listed."""
        self._worker = ThreadPoolExecutor(1).submit(Worker, job, careful=was_started_again())

    def start(self) -> None:
        """Returns once the process runs."""

    def work(self, source: str, rows: Rows) -> dict[str, str]:
        """As `Worker.work`: the result as JSON, or our error, for `unpack_result`."""
        try:
            return {"part": self._worker.result().work(source, rows).to_json()}
        except RetrievalError as error:
            return pack_error(error)


def was_started_again() -> bool:
    """Whether the calling actor is a restarted one."""
    import ray

    return bool(ray.get_runtime_context().was_current_actor_reconstructed)


def pack_error(error: RetrievalError) -> dict[str, str]:
    """An error as plain values. Raised as it is, Ray would wrap it in a page of traceback."""
    values = (type(error).__name__, error.message, error.hint, error.option)
    return dict(zip(ERROR, values, strict=True))


def unpack_result(given: dict[str, str]) -> PageResult:
    """The result of a page; raises the worker's error if there is one."""
    if "error" not in given:
        return PageResult.from_json(given["part"])
    kind = getattr(errors, given["error"], RetrievalError)
    if kind in (errors.BadImage, errors.FilterError):  # their constructors take other arguments
        kind = RetrievalError
    raise kind(given["message"], hint=given["hint"], option=given["option"])
