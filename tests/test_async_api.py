"""The index with `await`: results and errors as without, a few calls at once, cancelled and closed as promised."""

import asyncio
import inspect
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from retrieval import AsyncIndex, Index, Stored
from retrieval.config import Settings
from retrieval.errors import BadImage, StoreError
from retrieval.schema.records import point_id
from tests.cli.conftest import home, ingested, pictures, trained  # noqa: F401 - fixtures
from tests.errors import raises
from tests.test_api import index, models, root, settings  # noqa: F401 - fixtures

SECONDS = 30
EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


class Gate:
    """In the place of a method: counts the calls under way, and lets them through when it is opened."""

    def __init__(self) -> None:
        self.now = self.most = self.begun = 0
        self.lock, self.opened = threading.Lock(), threading.Event()

    def __call__(self) -> int:
        with self.lock:
            self.now += 1
            self.begun += 1
            self.most = max(self.most, self.now)
        assert self.opened.wait(SECONDS)
        with self.lock:
            self.now -= 1
        return self.begun


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.005)


def test_methods_give_what_those_of_the_index_give(index: Index, root: Path, tmp_path: Path) -> None:  # noqa: F811
    file, stored = root / "007.png", Stored("pictures/007.png")
    ids = [point_id("pictures", "003.png")]

    async def ask() -> None:
        other = AsyncIndex(index)
        assert list(await other.search(file, k=3)) == list(index.search(file, k=3))
        assert (await other.like([file], unlike=[stored], k=3)).result.hits == index.like(
            [file], [stored], 3
        ).result.hits
        assert [found.result.hits async for found in other.search_many([file, stored], k=2)] == [
            found.result.hits for found in index.search_many([file, stored], k=2)
        ]
        assert [group async for group in other.duplicates(max_distance=9.0)] == list(index.duplicates(max_distance=9.0))
        assert await other.outliers(3) == index.outliers(3)
        assert (await other.explain(file, stored)).distance == index.explain(file, stored).distance
        assert (await other.export(tmp_path / "all.npz")).points == index.status().points
        assert await other.status() == index.status()
        assert await other.points(ids) == index.points(ids)
        assert await other.facets(["source"], 3) == index.facets(["source"], 3)
        assert len(await other.sample(4)) == 4
        assert await other.image(index.search(file)[0]) == index.image(index.search(file)[0])
        assert (await other.reconstruct(ids)).keys() == index.reconstruct(ids).keys()
        with raises(BadImage, "is not an image"):
            await other.search(None)

    asyncio.run(ask())


def test_signatures_and_docstrings_are_those_of_the_index() -> None:
    own = {
        name: method for name, method in vars(AsyncIndex).items() if hasattr(method, "__wrapped__") and name != "open"
    }
    assert len(own) > 10
    for name, method in own.items():
        assert inspect.signature(method) == inspect.signature(getattr(Index, name))
        assert method.__doc__ == getattr(Index, name).__doc__


def test_a_few_calls_run_at_once_and_the_loop_goes_on(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    gate = Gate()

    monkeypatch.setattr(index.store, "count", lambda collection: gate())

    async def ask() -> None:
        other = AsyncIndex(index, workers=2)
        calls = [asyncio.create_task(other.status()) for _ in range(5)]
        await until(lambda: gate.now == 2)
        gate.opened.set()
        await asyncio.gather(*calls)

    asyncio.run(ask())
    assert (gate.begun, gate.most) == (5, 2)


def test_a_call_cancelled_while_it_waits_never_begins(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    gate = Gate()
    monkeypatch.setattr(index.store, "count", lambda collection: gate())

    async def ask() -> None:
        other = AsyncIndex(index, workers=1)
        calls = [asyncio.create_task(other.status()) for _ in range(3)]
        await until(lambda: gate.now == 1)
        calls[0].cancel()
        calls[1].cancel()
        await asyncio.wait(calls[:2], timeout=SECONDS)
        assert calls[0].cancelled()
        assert calls[1].cancelled()
        assert gate.now == 1, "a thread cannot be stopped, and keeps its place"
        gate.opened.set()
        assert (await calls[2]).points == 2

    asyncio.run(ask())
    assert (gate.begun, gate.most) == (2, 1)


def test_an_iteration_that_is_left_is_closed(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    gate, closed = Gate(), threading.Event()

    def stream(*_: Any) -> Iterator[Any]:
        try:
            while True:
                yield type("Result", (), {"query": None})
                gate()
        finally:
            closed.set()

    monkeypatch.setattr(index, "stream", stream)

    async def first(found: AsyncIterator[Any]) -> None:
        await anext(found)

    async def ask() -> None:
        other = AsyncIndex(index)
        found = other.search_many([])
        await first(found)
        await found.aclose()
        assert closed.is_set(), "between two steps"
        closed.clear()
        found = other.search_many([])
        await first(found)
        step = asyncio.create_task(first(found))
        await until(lambda: gate.now == 1)
        step.cancel()
        await asyncio.wait([step], timeout=SECONDS)
        assert step.cancelled()
        assert not closed.is_set()
        gate.opened.set()
        await until(closed.is_set)

    asyncio.run(ask())


def test_closing_lets_the_engine_go_and_ends_calls(index: Index, settings: Settings, root: Path) -> None:  # noqa: F811
    index.close()

    async def search(other: AsyncIndex) -> None:
        while True:
            await other.search(root / "007.png")

    async def ask() -> None:
        for _ in range(5):  # an engine that a call opened again would be locked
            async with await AsyncIndex.open(settings=settings) as other:
                calls = [asyncio.create_task(search(other)) for _ in range(6)]
                await asyncio.sleep(0.01)
            for ended in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(ended, StoreError), ended
                assert "closed" in str(ended)
            with raises(StoreError, "closed", hint="open it again"):
                await other.status()

    asyncio.run(ask())


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda file: file.stem)
def test_examples_run(example: Path, home: Path, pictures: Path, tmp_path: Path) -> None:  # noqa: F811
    file = next(pictures.glob("7/*.png"))
    done = subprocess.run(
        [sys.executable, "-W", "error", example, file],
        cwd=tmp_path,
        env={**os.environ, "RETRIEVAL_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "pictures/7/" in done.stdout or "pictures 7/" in done.stdout


def test_the_page_shows_the_examples() -> None:
    page = (Path(__file__).parents[1] / "docs" / "search.md").read_text("utf-8")
    for example in EXAMPLES:
        shown = example.read_text("utf-8").partition("\n\n\n")[2].partition("\n\n\nif __name__")[0]
        assert f"```python\n{shown}\n```" in page
