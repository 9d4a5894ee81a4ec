"""Both engines, each as a fresh `Store`, and codes to put into them."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float32
from qdrant_client import QdrantClient

from retrieval.schema.records import CollectionMeta, Point, point_id
from retrieval.store.base import Store
from retrieval.store.edge.engine import EdgeStore
from retrieval.store.qdrant.connection import TimeLimits
from retrieval.store.qdrant.server import ServerStore

DIM = 8
SHORT = TimeLimits(query=0.5, query_deadline=1, job=0.5, job_deadline=1, first_deadline=2)
"""For servers that will not answer."""
ENGINES = ("embedded", "server")
numbers = itertools.count()


@pytest.fixture(params=ENGINES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An open store; on the server, everything that the test made is dropped again."""
    make: Callable[[str], Store] = request.getfixturevalue("open_engine")
    opened = make(request.param)
    yield opened
    opened.close()


@pytest.fixture
def open_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Store]]:
    """`embedded` or `server` → an open store without collections of this test."""

    def make(engine: str) -> Store:
        if engine == "embedded":
            return EdgeStore(tmp_path / "embedded", lock_seconds=0.2)
        return ServerStore(request.getfixturevalue("qdrant_url"))

    yield make
    if "qdrant_url" in request.fixturenames or "server" in request.node.name:
        clean(request.getfixturevalue("qdrant_url"))


def clean(url: str) -> None:
    client = QdrantClient(url=url, check_compatibility=False)
    for collection in client.get_collections().collections:
        if collection.name.startswith("test-"):
            client.delete_collection(collection.name)  # its aliases go with it
    client.close()


@pytest.fixture
def name() -> str:
    """A collection name that no other test uses."""
    return f"test-{next(numbers)}"


def meta(dim: int = DIM, model: str = "4f1c2a9b") -> CollectionMeta:
    return CollectionMeta(
        model=model,
        dim=dim,
        image_size=(28, 28),
        channels=1,
        created="2026-11-23T07:00:00Z",
        sources={"cats": "somewhere/cats"},
    )


def codes(count: int, dim: int = DIM, seed: int = 0) -> Float32[np.ndarray, "n d"]:
    return np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)


def points(vectors: Float32[np.ndarray, "n d"]) -> list[Point]:
    """One point per row; the labels are 0, 1, 2, 0, 1, 2, ..."""
    return [
        Point(
            point_id("cats", f"{n}.png"),
            vector,
            {
                "source": "cats",
                "path": f"{n}.png",
                "label": str(n % 3),
                "mtime_ns": 1_700_000_000_000_000_000 + n,
            },
        )
        for n, vector in enumerate(vectors)
    ]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a collection `a` of 2,000 points, which alias `images` points at; closed cleanly."""
    root = tmp_path / "embedded"
    with closing(EdgeStore(root)) as store:
        store.create_collection("a", meta())
        store.move_alias("images", "a")
        for start in range(0, 2000, 500):
            store.upsert("a", points(codes(2000))[start : start + 500])
    return root


@contextmanager
def connected(url: str, key: str | None = None, time_limits: TimeLimits | None = None) -> Iterator[ServerStore]:
    """A store that is closed after the block."""
    with closing(ServerStore(url, key, time_limits=time_limits)) as store:
        yield store
