"""Decodes images in processes that can be killed, in two lanes, each with a fair queue.

Most images go through the first lane in milliseconds. One whose header says that it takes long, or much memory, goes to
the second, which has one process of the lowest priority. So no image keeps other people's waiting for long, and memory
is bounded whatever is sent.
"""

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from typing import Any, NamedTuple

import numpy as np

from retrieval.errors import BadImage
from retrieval.images import upload_process
from retrieval.images.decode import DecodedImage
from retrieval.images.upload_process import JPEG, OUT_OF_MEMORY, SIZES_BYTES, ProcessLimits, pack_message, unpack_sizes
from retrieval.schema.image_shape import ImageShape
from retrieval.sources.read import Decoded
from retrieval.web.errors import too_busy
from retrieval.web.limits import Limits

QUICK_COST = 4_000_000
"""Images that cost more go to the second lane: about 0.1 s, the decoding of a photo of 12 megapixels."""
QUICK_BYTES = 4 * 2**20
"""Files from which all but JPEG go there unseen: reading a header may take as long as decoding."""
QUICK_SECONDS = 2.0
QUICK_MEMORY = 16 * 10**6
SLOW_NICE = 19
ANSWER_BYTES = 64 * 2**20
START_SECONDS = 30.0
STALL_FACTOR = 6
"""A process that was given this many times its processor time, and is not done, is killed: the machine is too busy."""
SECRETS = ("QDRANT_", "RETRIEVAL_")
"""Environment variables that begin so are not passed on."""
ONE_THREAD = {"MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1"}
"""Threads of a decoder would share its limits; unused ones take address space."""
DIED = "the decoder crashed while opening it; save it again with another program"
TOO_LONG = "it takes too long to open; scale it down"
TOO_LARGE = "it takes too much memory to open; scale it down"

Answer = tuple[dict[str, Any], bytes]


class Died(Exception):
    """A process ended before it answered.

    code: its exit code, negative for a signal
    fresh: whether it had answered nothing before, so that no earlier image is to blame
    """

    def __init__(self, code: int, fresh: bool) -> None:
        super().__init__(code)
        self.code, self.fresh = code, fresh


class Decoders:
    """Two lanes of processes; to be used in one event loop."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        quick = ProcessLimits(QUICK_SECONDS, QUICK_MEMORY, limits.pixels, QUICK_COST, 0)
        memory = limits.decode_bytes - limits.decoders * QUICK_MEMORY
        slow = ProcessLimits(limits.decode_seconds, memory, limits.pixels, None, SLOW_NICE)
        self._quick, self._slow = Lane(limits, quick, limits.decoders), Lane(limits, slow, 1)

    async def decode(self, data: bytes, name: str, shape: ImageShape, client: str) -> Decoded:
        """Decode an image file.

        client: whose image it is; clients take turns
        Raises BadImage, and HTTPException 503 when too many images wait.
        """
        task = {"name": name, "shape": dataclasses.astuple(shape)}
        head, body = await self._work(task, data, client)
        pixels = np.frombuffer(body, np.uint8).reshape(shape.array)
        return Decoded(head["sha256"], DecodedImage(pixels, head["width"], head["height"]))

    async def draw(self, data: bytes, name: str, kind: str, side: int, client: str, *, enlarge: bool) -> bytes:
        """An image as a file, `jpg` or `png`, of at most `side` pixels a side. Raises as `decode`.

        enlarge: a smaller image, by the largest integer factor that fits
        """
        _, body = await self._work({"name": name, "kind": kind, "side": side, "enlarge": enlarge}, data, client)
        return body

    async def start(self) -> None:
        """Start the processes of the first lane, so that the first image need not wait for them."""
        await self._quick.start()

    async def close(self) -> None:
        """Kill all processes; whoever waits for one gets an HTTPException 503."""
        await asyncio.gather(self._quick.close(), self._slow.close())

    async def _work(self, task: dict[str, Any], data: bytes, client: str) -> Answer:
        """Do a task in the first lane, or in the second if it is costly or the first lane's process died of it."""
        if data.startswith(JPEG) or len(data) <= QUICK_BYTES:
            with contextlib.suppress(Died):
                head, body = await self._quick.run(task, data, client)
                if head["outcome"] != "costly":
                    return finish(task, head, body)
        try:
            return finish(task, *await self._slow.run(task, data, client))
        except Died as death:
            raise BadImage(task["name"], reason_of(death)) from death


def finish(task: dict[str, Any], head: dict[str, Any], body: bytes) -> Answer:
    """The answer to a task that was done. Raises BadImage for one that was refused."""
    if head["outcome"] == "refused":
        raise BadImage(task["name"], head["reason"])
    return head, body


def reason_of(death: Died) -> str:
    """Why an image is refused that a process died of."""
    if death.code == -signal.SIGPROF:
        return TOO_LONG
    return TOO_LARGE if death.code == OUT_OF_MEMORY else DIED


class Lane:
    """Processes with the same limits. Clients that wait for one take turns."""

    def __init__(self, limits: Limits, process: ProcessLimits, number: int) -> None:
        self._limits, self._closed = limits, False
        self._all = [DecodeProcess(process) for _ in range(number)]
        self._idle = list(self._all)
        self._waiting: dict[str, deque[asyncio.Future[DecodeProcess]]] = {}

    async def start(self) -> None:
        """Start the processes that are not running yet."""
        for process in list(self._idle):
            await process.start()

    async def run(self, task: dict[str, Any], data: bytes, client: str) -> Answer:
        """Do a task. Raises Died if the task is to blame, HTTPException 503 if there is no process for it in time."""
        while True:
            process = await self._take(client)
            try:
                return await process.ask(task, data)
            except Died as death:
                if self._closed or death.code == -signal.SIGKILL:
                    raise too_busy() from death
                if death.fresh or death.code == -signal.SIGPROF:
                    raise
            finally:
                self._give(process)

    async def close(self) -> None:
        """Kill the processes; those who wait for one get an HTTPException 503."""
        self._closed = True
        for each in [future for queue in self._waiting.values() for future in queue if not future.done()]:
            each.set_exception(too_busy())
        await asyncio.gather(*(process.kill() for process in self._all))

    async def _take(self, client: str) -> "DecodeProcess":
        if self._closed:
            raise too_busy()
        if self._idle:
            return self._idle.pop()
        mine = self._waiting.setdefault(client, deque())
        if len(mine) >= self._limits.client_images:
            raise too_busy()
        future: asyncio.Future[DecodeProcess] = asyncio.get_running_loop().create_future()
        mine.append(future)
        try:
            async with asyncio.timeout(self._limits.decode_wait):
                return await future
        except BaseException as error:
            given = not future.cancel() and not future.cancelled() and future.exception() is None
            if given:  # at the very moment at which this wait ended
                self._give(future.result())
            if isinstance(error, TimeoutError):
                raise too_busy() from None
            raise

    def _give(self, process: "DecodeProcess") -> None:
        """Hand a process to the first who waits of the client whose turn it is."""
        while self._waiting:
            client, queue = next(iter(self._waiting.items()))
            del self._waiting[client]
            first = queue.popleft()
            if queue:
                self._waiting[client] = queue  # at the end
            if not first.done():
                first.set_result(process)
                return
        self._idle.append(process)


class DecodeProcess:
    """A process that decodes one image at a time; started again when it has died."""

    def __init__(self, limits: ProcessLimits) -> None:
        self._limits, self._answers = limits, 0
        self._running: RunningProcess | None = None
        self._starting = asyncio.Lock()

    async def start(self) -> None:
        """Start the process unless it runs."""
        async with self._starting:
            if self._running is not None:
                return
            self._answers = 0
            started, ours = start_process(self._limits)
            try:
                self._running = RunningProcess(started, *await asyncio.open_connection(sock=ours))
            except BaseException:
                started.kill()
                started.wait()
                ours.close()
                raise

    async def ask(self, task: dict[str, Any], data: bytes) -> Answer:
        """Do a task. Raises Died."""
        await self.start()
        assert self._running
        fresh = self._answers == 0
        try:
            async with asyncio.timeout(START_SECONDS + STALL_FACTOR * self._limits.seconds):
                answer = await self._running.exchange(*pack_message(task, data))
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError) as error:
            raise Died(await self.kill(), fresh) from error
        except BaseException:  # cancelled: the answer must not be taken for the next one's
            await self.kill()
            raise
        self._answers += 1
        return answer

    async def kill(self) -> int:
        """End the process; returns its exit code, which is its own if it had ended before."""
        running, self._running = self._running, None
        if running is None:
            return 0
        running.writer.close()
        running.process.kill()
        return await asyncio.to_thread(running.process.wait)


class RunningProcess(NamedTuple):
    """A process, and the socket to its stdin and stdout."""

    process: "subprocess.Popen[bytes]"
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def exchange(self, head_bytes: bytes, data: bytes) -> Answer:
        """Send a request and read its answer. Raises IncompleteReadError or ConnectionError if the process ends."""
        self.writer.write(head_bytes)
        self.writer.write(data)
        await self.writer.drain()
        head, body = unpack_sizes(await self.reader.readexactly(SIZES_BYTES))
        if head + body > ANSWER_BYTES:
            raise ConnectionError(f"an answer of {head + body} bytes")
        return json.loads(await self.reader.readexactly(head)), await self.reader.readexactly(body)


def start_process(limits: ProcessLimits) -> "tuple[subprocess.Popen[bytes], socket.socket]":
    """Start a process; returns it and our end of the socket to it.

    Not by asyncio: uvloop would fork, which JAX's threads forbid.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(SECRETS)} | ONE_THREAD
    ours, its = socket.socketpair()
    with its:
        process = subprocess.Popen(  # noqa: S603 - this program
            [sys.executable, "-m", upload_process.__name__, json.dumps(dataclasses.asdict(limits))],
            stdin=its.fileno(),
            stdout=its.fileno(),
            env=environment,
            start_new_session=True,  # Ctrl-C is for the service only
        )
    return process, ours
