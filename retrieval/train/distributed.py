"""Several processes that train one model: how they meet, how they know that they do the same, and how they part."""

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator

import jax
import numpy as np
from jax.errors import JaxRuntimeError
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from orbax.checkpoint import multihost

from retrieval.errors import TrainingError
from retrieval.train.types import Hosts

DEADLINE = 120
"""Seconds that a process waits for the others to come."""
HEARTBEAT = 60
"""Seconds without a sign of life after which a process counts as lost, and all are ended."""
READING = 3600
"""Seconds that a process waits for the others to have read their images."""

AGAIN = (
    "see what the others say, then run the same command again on every host: training goes on from the last checkpoint"
)


@contextlib.contextmanager
def process_group(hosts: Hosts | None) -> Iterator[None]:
    """JAX sees the devices of all processes while the block runs, and until `leave`; None: this process is alone.

    To be entered before JAX computes anything. When a process is lost, JAX may end this one with SIGABRT and lines of
    its own, and after an error JAX waits for the others when Python ends: a program should leave by `os._exit`.
    Raises TrainingError when the others have not come after DEADLINE seconds, when they have other numbers of devices,
    and when one is lost.
    """
    if hosts is None:
        yield
        return
    initialize(hosts)
    try:
        yield
    except JaxRuntimeError as error:
        reason = str(error).partition("\n")[0].partition(" [")[0]
        raise TrainingError(f"{hosts} cannot go on, perhaps for want of another one: {reason}", hint=AGAIN) from error


def initialize(hosts: Hosts) -> None:
    """Meet the others; raises TrainingError as `process_group`."""
    jax.config.update("jax_enable_preemption_service", False)  # it would keep SIGTERM from ending the process
    failures: list[Exception] = []

    def initialize() -> None:
        try:
            jax.distributed.initialize(
                coordinator_address=hosts.coordinator,
                num_processes=hosts.processes,
                process_id=hosts.process,
                cluster_detection_method="deactivate",
                initialization_timeout=2 * DEADLINE,  # JAX would end the process: we give up before
                heartbeat_timeout_seconds=HEARTBEAT,
                shutdown_timeout_seconds=HEARTBEAT,
            )
        except Exception as error:  # noqa: BLE001 - of many kinds; raised again below
            failures.append(error)

    thread = threading.Thread(target=initialize, daemon=True)
    thread.start()
    thread.join(DEADLINE)
    if thread.is_alive():
        absent = "process 0 does not answer" if hosts.process else "not all of the others have come"
        raise TrainingError(
            f"{hosts}: {absent} at {hosts.coordinator} after {DEADLINE} s",
            hint=(
                "start the same command on every host, each with its own --process, and see that they reach that port"
            ),
        )
    if failures:
        reason = str(failures[0]).partition("\n")[0]
        raise TrainingError(f"{hosts} cannot use {hosts.coordinator}: {reason}", hint="try another port") from failures[
            0
        ]
    devices = Counter(device.process_index for device in jax.devices())
    if len(set(devices.values())) > 1:
        numbers = ", ".join(str(devices[process]) for process in sorted(devices))
        raise TrainingError(f"the processes have different numbers of devices ({numbers})", hint="give each as many")


def is_primary() -> bool:
    """Whether this is the process that keeps checkpoints and saves the model: number 0, or the only one."""
    return jax.process_index() == 0


def leave() -> None:
    """Wait until all processes are here, then each goes on alone; nothing when this one is alone already."""
    jax.distributed.shutdown()


def check_same_run(run: str) -> None:
    """Wait for all; raise TrainingError, in every process, unless they have come for the same run.

    run: its name, 16 ASCII characters.
    """
    if jax.process_count() == 1:
        return
    multihost.get_barrier_sync_fn()(key="images are read", timeout_ms=1000 * READING)
    runs = [bytes(row).decode() for row in multihost_utils.process_allgather(np.frombuffer(run.encode(), np.uint8))]
    for process, other in enumerate(runs):
        if other != runs[0]:
            raise TrainingError(
                f"process {process} has other images or other options than process 0 (its run would be {other},"
                f" not {runs[0]})",
                hint="give every process the same source and the same options",
            )


def connect_devices(mesh: Mesh) -> None:
    """Open the ways between a mesh's devices: all processes must come within 30 s, which compiling may take.

    Later, when they are open, one waits for another for as long as that is alive.
    """
    if jax.process_count() > 1:
        split, whole = NamedSharding(mesh, PartitionSpec(mesh.axis_names)), NamedSharding(mesh, PartitionSpec())
        zeros = jax.make_array_from_callback((mesh.size,), split, lambda index: np.zeros(mesh.size, np.float32)[index])
        jax.block_until_ready(jax.jit(jax.numpy.sum, out_shardings=whole)(zeros))


def broadcast_bytes(data: bytes) -> bytes:
    """Process 0's data, in every process; what the others give does not count."""
    if jax.process_count() == 1:
        return data
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    block = np.frombuffer(data, np.uint8) if is_primary() else np.zeros(size, np.uint8)
    return bytes(multihost_utils.broadcast_one_to_all(block))
