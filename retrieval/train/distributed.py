"""Distributed training: start JAX's process group, check that all processes train the same, and shut it down."""

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
"""Seconds to wait for the other processes to start."""
HEARTBEAT = 60
"""Seconds without a heartbeat after which a process counts as lost and all others are ended."""
READING = 3600
"""Seconds to wait for the other processes to read their images."""

AGAIN = (
    "see the other processes' errors, then run the same command again on every host; training resumes from the last"
    " checkpoint"
)


@contextlib.contextmanager
def process_group(hosts: Hosts | None) -> Iterator[None]:
    """Join the other processes: JAX sees the devices of all of them inside the block, until `leave`.

    Must be entered before JAX computes anything. When a process is lost, JAX may end this one with SIGABRT and print
    messages of its own. After an error, JAX waits for the other processes when Python exits, so a program should exit
    by `os._exit`.

    hosts: None to train in this process alone
    Raises TrainingError when the others do not start within DEADLINE seconds, when processes have different numbers of
    devices, and when a process is lost.
    """
    if hosts is None:
        yield
        return
    initialize(hosts)
    try:
        yield
    except JaxRuntimeError as error:
        reason = str(error).partition("\n")[0].partition(" [")[0]
        raise TrainingError(f"{hosts} failed, perhaps because another process did: {reason}", hint=AGAIN) from error


def initialize(hosts: Hosts) -> None:
    """Connect to the other processes; raises TrainingError as `process_group`."""
    jax.config.update("jax_enable_preemption_service", False)  # it would prevent SIGTERM from ending the process
    failures: list[Exception] = []

    def initialize() -> None:
        try:
            jax.distributed.initialize(
                coordinator_address=hosts.coordinator,
                num_processes=hosts.processes,
                process_id=hosts.process,
                cluster_detection_method="deactivate",
                initialization_timeout=2 * DEADLINE,  # JAX would end the process, so we give up earlier
                heartbeat_timeout_seconds=HEARTBEAT,
                shutdown_timeout_seconds=HEARTBEAT,
            )
        except Exception as error:  # noqa: BLE001 - of many kinds; raised again below
            failures.append(error)

    thread = threading.Thread(target=initialize, daemon=True)
    thread.start()
    thread.join(DEADLINE)
    if thread.is_alive():
        others = "process 0" if hosts.process else "the other processes"
        raise TrainingError(
            f"{hosts}: timed out after {DEADLINE} s waiting for {others} at {hosts.coordinator}",
            hint=(
                "start the same command on every host, each with its own --process, and check that they reach that port"
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
        raise TrainingError(
            f"the processes have different numbers of devices ({numbers})", hint="give each process the same number"
        )


def is_primary() -> bool:
    """Whether this process writes the checkpoints and saves the model: process 0, or the only one."""
    return jax.process_index() == 0


def leave() -> None:
    """Wait for all processes, then shut down the process group. Does nothing if there is only one process."""
    jax.distributed.shutdown()


def check_same_run(run: str) -> None:
    """Wait for all processes; raise TrainingError in each of them unless all train the same run.

    run: its name, 16 ASCII characters
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
    """Open the connections between a mesh's devices by a small computation.

    Opening them times out after 30 s, which the compilation of a training step may exceed. Once they are open, a
    process waits for another for as long as that one is alive.
    """
    if jax.process_count() > 1:
        split, whole = NamedSharding(mesh, PartitionSpec(mesh.axis_names)), NamedSharding(mesh, PartitionSpec())
        zeros = jax.make_array_from_callback((mesh.size,), split, lambda index: np.zeros(mesh.size, np.float32)[index])
        jax.block_until_ready(jax.jit(jax.numpy.sum, out_shardings=whole)(zeros))


def broadcast_bytes(data: bytes) -> bytes:
    """Process 0's data, in every process; the data of the other processes is ignored."""
    if jax.process_count() == 1:
        return data
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(data))))
    block = np.frombuffer(data, np.uint8) if is_primary() else np.zeros(size, np.uint8)
    return bytes(multihost_utils.broadcast_one_to_all(block))
