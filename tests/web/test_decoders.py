"""Images that nobody trusts: each within its limits, others' meanwhile, and no good one blamed."""

import asyncio
import contextlib
import importlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.exceptions import HTTPException

from retrieval.errors import BadImage
from retrieval.images.decode import decode
from retrieval.images.upload_process import MAX_MARKERS, MAX_SCANS, ProcessLimits, count_scans
from retrieval.schema.image_shape import ImageShape
from retrieval.web.decoders import TOO_LONG, DecodeProcess, Decoders, Lane
from retrieval.web.limits import Limits

SCRIPTS = Path(__file__).parents[2] / "scripts"
SHAPE = ImageShape(28, 28, 1)
MB = 10**6


@pytest.fixture(scope="module")
def wide() -> bytes:
    """A PNG of 200 kB and 49 megapixels with opacity, which takes half a second and 245 MB."""
    return bytes(attacks().wide_png(7000))


def attacks() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(SCRIPTS)
        return importlib.import_module("attacks")


def good() -> bytes:
    out = io.BytesIO()
    Image.linear_gradient("L").save(out, "PNG")
    return out.getvalue()


def run(work: Callable[[Decoders], Awaitable[None]], limits: Limits = Limits()) -> None:  # noqa: B008 - frozen
    """Do something with decoders in an event loop."""

    async def main() -> None:
        async with decoders(limits) as made:
            await work(made)

    asyncio.run(main())


@contextlib.asynccontextmanager
async def decoders(limits: Limits) -> AsyncIterator[Decoders]:
    made = Decoders(limits)
    try:
        yield made
    finally:
        await made.close()


async def is_answered(made: Decoders) -> None:
    """A good image is decoded as everywhere else."""
    found = await made.decode(good(), "good.png", SHAPE, "somebody")
    assert found.image.pixels.tobytes() == decode(good(), "good.png", SHAPE).pixels.tobytes()
    assert (found.image.width, found.image.height) == (256, 256)


def processes(made: Decoders) -> list[DecodeProcess]:
    return [*made._quick._all, *made._slow._all]


def test_while_costly_images_hold_their_lane_others_are_answered(wide: bytes) -> None:
    async def work(made: Decoders) -> None:
        costly = [asyncio.create_task(made.decode(wide, "wide.png", SHAPE, "attacker")) for _ in range(3)]
        for _ in range(20):
            await is_answered(made)
        assert not costly[-1].done()
        assert (await costly[0]).image.width == 7000

    run(work)


def test_who_finds_no_process_free_is_told_to_come_back_and_is_not_blamed(wide: bytes) -> None:
    async def work(made: Decoders) -> None:
        held = await made._slow._take("attacker")
        with pytest.raises(HTTPException) as caught:
            await made.decode(wide, "good.png", SHAPE, "somebody")
        assert caught.value.status_code == 503
        assert caught.value.headers
        assert int(caught.value.headers["Retry-After"]) > 0
        made._slow._give(held)

    run(work, Limits(decode_wait=0.01))


def test_clients_take_turns(wide: bytes) -> None:
    async def work(made: Decoders) -> None:
        ended: list[str] = []

        async def ask(client: str) -> None:
            await made.decode(wide, client, SHAPE, client)
            ended.append(client)

        async with asyncio.TaskGroup() as group:
            for client in ("attacker", "attacker", "attacker", "somebody"):
                group.create_task(ask(client))
                await asyncio.sleep(0.01)
        assert ended.index("somebody") < 3

    run(work)


def test_an_image_that_takes_too_much_processor_time_is_given_up(wide: bytes) -> None:
    async def work(made: Decoders) -> None:
        with pytest.raises(BadImage) as caught:
            await made.decode(wide, "wide.png", SHAPE, "attacker")
        assert caught.value.reason == TOO_LONG
        await is_answered(made)

    run(work, Limits(decode_seconds=0.05))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="NOT TESTED: memory is read from /proc")
def test_images_at_once_keep_to_one_budget(wide: bytes) -> None:
    def peak(made: Decoders) -> int:
        running = [each._running.process.pid for each in processes(made) if each._running]
        lines = [line for pid in running for line in Path(f"/proc/{pid}/status").read_text().splitlines()]
        return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

    async def work(made: Decoders) -> None:
        await asyncio.gather(*(is_answered(made) for _ in range(8)))
        started = peak(made)
        await asyncio.gather(*(made.decode(wide, "wide.png", SHAPE, str(n)) for n in range(3)))
        assert peak(made) - started < Limits().decode_bytes + 60 * MB  # of the process that was started since

    run(work)


def test_an_image_beyond_the_budget_is_refused_before_it_is_decoded(wide: bytes) -> None:
    async def work(made: Decoders) -> None:
        with pytest.raises(BadImage) as caught:
            await made.decode(wide, "wide.png", SHAPE, "attacker")
        assert "196 MB" in caught.value.reason
        assert "118 MB" in caught.value.reason

    run(work, Limits(decode_bytes=150 * MB))


LIMITED = """
from retrieval.images.upload_process import ProcessLimits, restrict_process
restrict_process(ProcessLimits(1, 10**6, 1, None, 0))
try:
    bytearray(100 * 10**6)
except MemoryError:
    print("no memory")
"""


def test_the_system_itself_holds_a_process_to_its_limits() -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split("\n")[0] == "no memory", done.stderr


def test_a_crash_that_another_image_caused_blames_nobody() -> None:
    async def work(made: Decoders) -> None:
        await is_answered(made)
        for process in processes(made):
            if process._running:
                os.kill(process._running.process.pid, signal.SIGSEGV)
        await is_answered(made)

    run(work)


def test_the_end_of_the_service_waits_for_no_image(wide: bytes) -> None:
    async def main() -> None:
        async with decoders(Limits()) as made:
            asked = [asyncio.create_task(made.decode(wide, "wide.png", SHAPE, "a")) for _ in range(3)]
            await asyncio.sleep(0.3)
        for outcome in await asyncio.gather(*asked, return_exceptions=True):
            assert isinstance(outcome, HTTPException)
            assert outcome.status_code == 503

    asyncio.run(main())


def test_scans_and_segments_are_counted_before_decoding() -> None:
    assert count_scans(attacks().many_scans(64, 1), "a") > 5
    for data, says in (
        (attacks().many_scans(64, 500), str(MAX_SCANS)),
        (b"\xff\xd8" + b"\xff\xfe\0\2" * 6000, f"{MAX_MARKERS:,}"),
    ):
        with pytest.raises(BadImage, match=says):
            count_scans(data, "a")


@pytest.mark.parametrize(
    "data", [b"\xff\xd8\xff", b"\xff\xd8\xff\xda", b"\xff\xd8\xff\xe0\0", b"\xff\xd8\xff\xfe\xff\xff"]
)
def test_a_jpeg_that_ends_early_has_no_scans_too_many(data: bytes) -> None:
    assert count_scans(data, "a") <= 1


def test_a_process_handed_to_one_who_has_just_left_is_not_lost() -> None:
    async def leave() -> None:
        lane = Lane(Limits(), ProcessLimits(1.0, MB, MB, None, 0), 1)
        process = await lane._take("one")
        waiting = asyncio.create_task(lane._take("two"))
        await asyncio.sleep(0)
        lane._give(process)
        waiting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await waiting
        assert lane._idle == [process]

    asyncio.run(leave())
