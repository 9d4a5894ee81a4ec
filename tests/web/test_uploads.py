"""Bodies one by one: how many are read at once, and when a place becomes free."""

import asyncio

import pytest
from starlette.exceptions import HTTPException
from starlette.types import Message

from retrieval.web.limits import Limits
from retrieval.web.metrics import Metrics
from retrieval.web.middleware.body_limits import LimitedBody, format_size

LIMITS = Limits(upload=1000, small=10, large=1, body_seconds=0.2)


class Client:
    """Sends a piece whenever it is asked for one; `asked` counts."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces, self.asked = list(pieces), 0

    async def receive(self) -> Message:
        self.asked += 1
        return {"type": "http.request", "body": self.pieces.pop(0), "more_body": bool(self.pieces)}


def body(client: Client, places: asyncio.Semaphore, declared: str | None = None) -> LimitedBody:
    return LimitedBody(client.receive, LIMITS, places, Metrics(), declared)


def test_a_second_large_body_is_not_read_before_the_first_has_gone() -> None:
    async def run() -> None:
        places = asyncio.Semaphore(LIMITS.large)
        first, second, small = Client(b"a" * 11, b"b"), Client(b"c" * 11, b"d"), Client(b"e")
        bodies = [body(client, places) for client in (first, second, small)]
        await bodies[0].receive()
        await bodies[0].receive()
        await bodies[1].receive()  # so much is read of any
        waiting = asyncio.create_task(bodies[1].receive())
        assert (await bodies[2].receive())["body"] == b"e"
        await asyncio.sleep(0.01)
        assert (second.asked, waiting.done()) == (1, False)
        bodies[0].close()
        assert (await waiting)["body"] == b"d"
        for each in bodies[1:]:
            each.close()
        assert not places.locked()

    asyncio.run(run())


def test_one_that_says_it_is_large_is_not_read_at_all_without_a_place() -> None:
    async def run() -> None:
        client = Client(b"a")
        with pytest.raises(HTTPException) as raised:
            await body(client, asyncio.Semaphore(0), "11").receive()
        assert (raised.value.status_code, client.asked) == (503, 0)
        with pytest.raises(HTTPException) as raised:
            await body(client, asyncio.Semaphore(1), "1001").receive()
        assert (raised.value.status_code, client.asked) == (413, 0)
        assert "at most 1000 bytes" in raised.value.detail

    asyncio.run(run())


@pytest.mark.parametrize(
    ("size", "text"),
    [(1023, "1023 bytes"), (1024, "1 KiB"), (300_000, "293 KiB"), (2**20, "1 MiB"), (64 * 2**20, "64 MiB")],
)
def test_a_limit_below_a_megabyte_is_not_written_as_none(size: int, text: str) -> None:
    assert format_size(size) == text
