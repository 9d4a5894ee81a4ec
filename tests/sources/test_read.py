"""Reading ahead: in order, bounded, and stopped as soon as the reader is closed."""

import hashlib
import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from threading import Event

import numpy as np
import pytest

from retrieval.errors import BadImage
from retrieval.images.decode import encode_png
from retrieval.schema.image_shape import ImageShape
from retrieval.sources import Entry, read
from retrieval.sources.read import Loaded, Refused, read_images, start_pool
from tests.train.samples import blobs, entry

SHAPE = ImageShape(12, 12, 1)


def test_order_is_kept_and_bad_ones_are_refused() -> None:
    images = blobs(40)
    entries = [entry(f"{n}.png", encode_png(image)) for n, image in enumerate(images)]
    entries[7] = entry("7.png", b"no image")
    found = list(read_images(entries, SHAPE))
    assert [item.entry for item in found] == entries
    for n, item in enumerate(found):
        if n == 7:
            assert isinstance(item, Refused)
            assert item.to_json() == {"source": "test", "path": "7.png", "reason": item.reason}
            assert item.reason
        else:
            assert isinstance(item, Loaded)
            assert item.sha256 == hashlib.sha256(encode_png(images[n])).hexdigest()
            np.testing.assert_array_equal(item.image.pixels, images[n])


def test_what_came_so_far_is_read_before_more_comes() -> None:
    png, fetched = encode_png(blobs(1)[0]), Event()

    def fetch() -> bytes:
        fetched.set()
        return png

    def slow() -> Iterator[Entry | int | None]:
        yield Entry("test", "a.png", 0, 0, None, fetch)
        yield None
        assert fetched.wait(60)
        yield 0
        yield entry("b.png", png)

    found = [item if isinstance(item, int) else item.entry.key for item in read_images(slow(), SHAPE)]
    assert found == ["a.png", 0, "b.png"]


def test_an_entry_that_vanished_is_refused() -> None:
    def vanished() -> bytes:
        raise BadImage("test/a.png", "is gone")

    (item,) = read_images([Entry("test", "a.png", 0, 0, None, vanished)], SHAPE)
    assert isinstance(item, Refused)
    assert item.reason == "is gone"


def test_an_unexpected_error_is_not_swallowed() -> None:
    def broken() -> bytes:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        list(read_images([Entry("test", "a.png", 0, 0, None, broken)], SHAPE))


@pytest.mark.timeout(60)
def test_reading_ahead_of_an_endless_source_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "WINDOW", 16)
    png = encode_png(blobs(1)[0])
    listed = 0

    def endless() -> Iterator[Entry]:
        nonlocal listed
        for listed in itertools.count(1):
            yield entry(f"{listed}.png", png)

    pictures = read_images(endless(), SHAPE)
    for n in range(1, 30):
        assert next(pictures).entry.key == f"{n}.png"
        assert n <= listed <= n + 2 * read.CHUNK
    pictures.close()  # type: ignore[attr-defined]
    assert listed <= 29 + 2 * read.CHUNK


@pytest.mark.timeout(120)
def test_closing_early_drops_tasks_that_have_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "THREADS", 1)
    png = encode_png(blobs(1)[0])
    fetched: list[int] = []
    closing = Event()

    def fetch(n: int) -> bytes:
        fetched.append(n)
        if n > read.CHUNK:  # the only thread stays here until the reader closes, then goes slowly
            closing.wait(60)
        if n > read.CHUNK + 1:
            Event().wait(0.02)
        return png

    entries = [Entry("test", f"{n}.png", len(png), 0, None, partial(fetch, n)) for n in range(read.WINDOW + 1)]
    pictures = read_images(entries, SHAPE)
    next(pictures)
    closing.set()
    pictures.close()  # type: ignore[attr-defined]
    assert len(fetched) < read.WINDOW


@pytest.mark.timeout(60)
def test_a_worker_hands_over_its_result_before_sigterm_ends_it() -> None:
    with start_pool(1) as workers:
        assert workers.submit(terminated).result() == "handed over", "its parent would wait for the rest for ever"
        (worker,) = multiprocessing.active_children()
        end = time.monotonic() + 30
        while worker.exitcode is None and time.monotonic() < end:  # the pool's own thread may be the one that is told
            worker.join(0.1)
        assert worker.exitcode == -signal.SIGALRM


def terminated() -> str:
    """Send SIGTERM to its own process."""
    os.kill(os.getpid(), signal.SIGTERM)
    return "handed over"
