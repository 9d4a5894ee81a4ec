"""Run an ingest on a Ray cluster with Ray Data: tasks list the sources, and actors process pages of the listings.

If a worker dies, Ray runs its page again, which writes the same points: their ids depend only on the images' names.
"""

import contextlib
import json
import logging
import os
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval import errors
from retrieval.errors import RetrievalError, UsageError
from retrieval.ingest.ray.worker import PageResult, SourceSpec, Tally, Worker, WorkerJob

if TYPE_CHECKING:
    import pyarrow as pa
    from ray.data.datasource import Datasource, ReadTask

STORE_BYTES = 512 * 2**20
"""Object store of a Ray that is started here; the pages in flight take about a thousandth of it."""
START_SECONDS = 300
"""Time for the workers to start on a busy cluster."""
CONNECT_SECONDS = 10
AT_ONCE = 2
"""Pages that an actor processes at once: it encodes one while it writes another."""
ERROR = ("error", "message", "hint", "option")
"""Columns that carry an error through Ray; all are empty if there is none."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
"""Switch off Ray's usage report, and its log on the terminal."""


def work_on_ray(job: WorkerJob, address: str | None, workers: int | None) -> Iterator[PageResult]:
    """Process the sources on Ray; yields the result of each page, in any order.

    job: what every worker is given
    address: of a running Ray cluster, or `auto` for the one that this machine belongs to; None starts one here, which
        ends with this run
    workers: number of actors (default: one for each GPU, without GPUs one for each processor)

    Raises UsageError if Ray is not installed or does not answer, errors that a worker raised, and RetrievalError when
    Ray gives up.
    """
    with start_ray(address) as ray, warnings.catch_warnings():
        from ray.data import ActorPoolStrategy, DataContext, read_datasource

        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.wait_for_min_actors_s = START_SECONDS
        context.target_max_block_size = 1  # one page per block, so that the first is processed while others are listed
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        size = workers or gpus or max(1, int(resources.get("CPU", 1)))
        made = read_datasource(make_datasource(list(job.specs.values()), job), num_cpus=0).map_batches(
            Actor,
            fn_constructor_args=(job,),
            batch_size=1,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(
                size=size, max_concurrent_calls_per_actor=AT_ONCE, enable_true_multi_threading=True
            ),
            num_cpus=min(1, int(resources.get("CPU", 1)) / size),
            num_gpus=min(1, gpus / size) or None,
        )
        warnings.filterwarnings("ignore", module=r"ray\.")
        try:
            for batch in made.iter_batches(batch_size=None, batch_format="pyarrow"):
                for row in batch.to_pylist():
                    yield unpack_result(row)
        except ray.exceptions.RayError as error:
            raise RetrievalError(
                f"Ray gave up: {' '.join(str(error).split())[-300:]}; what was stored is kept",
                hint="run the same command again",
            ) from error


@contextlib.contextmanager
def start_ray(address: str | None) -> Iterator[Any]:
    """Connect to the Ray cluster at the address, or start one, for the duration of the block."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UsageError(
            "Ray is not installed", option="runner", hint="pip install 'retrieval[ray]', or leave the option out"
        ) from error
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
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
        raise UsageError(f"{where} did not start or answer: {' '.join(str(error).split())[:300]}") from error
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


def make_datasource(specs: Sequence[SourceSpec], job: WorkerJob) -> "Datasource":
    """A Ray data source with one read task for each of our sources and one row for each page."""
    from ray.data.block import BlockMetadata
    from ray.data.datasource import Datasource, ReadTask

    class Listings(Datasource):
        def get_read_tasks(self, *_: Any, **__: Any) -> "list[ReadTask]":
            unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)
            return [ReadTask(make_reader(spec, job), unknown) for spec in specs]

        def estimate_inmemory_data_size(self) -> None:
            return None

    return Listings()  # type: ignore[no-untyped-call]


def make_reader(spec: SourceSpec, job: WorkerJob) -> Callable[[], "Iterator[pa.Table]"]:
    """A function that lists a source in a Ray task. An error of ours is returned as a row, and the end as another.

    If the task dies, Ray runs the listing again and skips as many rows as it had received.
    """

    def read() -> "Iterator[pa.Table]":
        try:
            listed = Tally()
            for page, listed in spec.list_pages(job.settings):  # noqa: B007 - the last tally counts all pages
                yield make_ray_row(source=spec.name, page=json.dumps(page))
            yield make_ray_row(source=spec.name, page="", part=PageResult(spec.name, listed=listed).to_json())
        except RetrievalError as error:
            yield make_ray_row(source=spec.name, page="", **pack_error(error))

    return read


class Actor:
    """A worker as Ray Data calls it. If it dies, Ray restarts it and gives it the same pages."""

    def __init__(self, job: WorkerJob) -> None:
        self._job = job
        self._worker: Worker | None = None
        self._starting = threading.Lock()

    def __call__(self, batch: "pa.Table") -> "pa.Table":
        (given,) = batch.to_pylist()
        if given["error"] or given["part"]:
            return make_ray_row(**{name: given[name] for name in (*ERROR, "part")})
        try:
            with self._starting:
                self._worker = self._worker or Worker(self._job, careful=was_started_again())
            return make_ray_row(part=self._worker.work(given["source"], json.loads(given["page"])).to_json())
        except RetrievalError as error:
            return make_ray_row(**pack_error(error))


def was_started_again() -> bool:
    """Whether the calling actor is a restarted one."""
    import ray

    return bool(ray.get_runtime_context().was_current_actor_reconstructed)


def make_ray_row(**fields: str) -> "pa.Table":
    """A table with one row; fields that are not given are empty."""
    import pyarrow as pa

    columns = dict.fromkeys((*ERROR, "part"), "")
    return pa.table({name: [value] for name, value in {**columns, **fields}.items()})


def pack_error(error: RetrievalError) -> dict[str, str]:
    """An error as columns of a row. Raised as it is, Ray would wrap it in a page of traceback."""
    values = (type(error).__name__, error.message, error.hint, error.option)
    return dict(zip(ERROR, values, strict=True))


def unpack_result(given: dict[str, str]) -> PageResult:
    """The page's result in a row; raises the worker's error if the row has one."""
    if not given["error"]:
        return PageResult.from_json(given["part"])
    kind = getattr(errors, given["error"], RetrievalError)
    if kind in (errors.BadImage, errors.FilterError):  # their constructors take other arguments
        kind = RetrievalError
    raise kind(given["message"], hint=given["hint"], option=given["option"])
