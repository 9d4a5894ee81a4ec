"""An embedded collection, a folder of images, and an encoder whose embeddings can be computed by hand.

For whole jobs: a folder of 2,000 digits, a home with a model, and what an uninterrupted run stores of the one by the
other.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import Float32, UInt8

from retrieval.images.decode import encode_png
from retrieval.ingest.job import ingest
from retrieval.ingest.options import IngestOptions
from retrieval.ingest.summary import IngestSummary
from retrieval.model.config import ModelConfig
from retrieval.schema.records import Point
from retrieval.sources.folder import Folder
from retrieval.store.base import Store, resolve
from retrieval.store.edge.engine import EdgeStore
from tests.cli.conftest import call, copy  # noqa: F401 - a fixture
from tests.conftest import made_once
from tests.ingest.jobs import Place, make_digits, make_model
from tests.store.conftest import clean, numbers

SIDE = 8
ALIAS = "images"
DIGITS = 2000
Run = Callable[..., IngestSummary]


class Quadrants:
    """The embedding is the mean of each quadrant, in [0, 1]; `encoded` counts images."""

    config = ModelConfig((SIDE, SIDE), 1, 4, (8, 8), (0, 0))
    fingerprint = "0123456789abcdef" * 4

    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, images: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n d"]:
        self.encoded += len(images)
        half = SIDE // 2
        blocks = images.reshape(len(images), 2, half, 2, half).mean((2, 4))
        codes: np.ndarray = blocks.reshape(len(images), 4) / 255
        return codes.astype(np.float32)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = EdgeStore(tmp_path / "embedded", lock_seconds=0.2)
    yield opened
    opened.close()


@pytest.fixture
def encoder() -> Quadrants:
    return Quadrants()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Thirty images, all different, in three folders."""
    rng = np.random.default_rng(0)
    for number in range(30):
        file = tmp_path / "root" / "abc"[number % 3] / f"{number:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode_png(rng.integers(0, 256, (SIDE, SIDE, 1), np.uint8)))
    return tmp_path / "root"


@pytest.fixture
def run(store: Store, encoder: Quadrants, root: Path, tmp_path: Path) -> Run:
    """Ingest the root, with options."""

    def go(*, labels: bool = False, **options: Any) -> IngestSummary:
        source = Folder("root", root, labels=labels)
        return ingest(store, encoder, [source], ALIAS, IngestOptions(**options), ledgers=tmp_path / "refused")

    return go


def by_path(store: Store) -> dict[str, Point]:
    """Every point with its embedding, by its image's key."""
    pages = store.scroll(resolve(store, ALIAS), codes=True)
    return {point.payload["path"]: point for page in pages for point in page}


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 2,000 different digits. Not to be changed."""

    def make(folder: Path) -> None:
        make_digits(folder / "digits", DIGITS)

    return made_once(tmp_path_factory, "digits", make) / "digits"


@pytest.fixture(scope="session")
def homes(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two homes: `model` holds a model and its compiled code, `whole` also a collection of every digit."""

    def make(folder: Path) -> None:
        make_model(folder / "model")
        whole = Place(copy(folder / "model", folder / "whole"), None, ALIAS)
        done = whole.ingest(digits)
        assert done.code == 0, done.err
        assert whole.encoded == DIGITS
        copy(whole.home / "cache", folder / "model" / "cache")

    return made_once(tmp_path_factory, "homes", make)


@pytest.fixture(scope="session")
def model_home(homes: Path) -> Path:
    """A home with a model and no collection. Not to be changed."""
    return homes / "model"


@pytest.fixture(scope="session")
def uninterrupted(homes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Point]:
    """Every digit's point after one undisturbed run."""
    points = Place(copy(homes / "whole", tmp_path_factory.mktemp("whole") / "home"), None, ALIAS).points()
    assert len(points) == DIGITS
    return points


@pytest.fixture(params=["embedded", "server"])
def place(request: pytest.FixtureRequest, model_home: Path, own_home: Path) -> Iterator[Place]:
    """A copy of the home with a model, and on the server an alias that no other test uses; cleaned up afterwards."""
    copy(model_home, own_home)
    if request.param == "embedded":
        yield Place(own_home, None, ALIAS)
        return
    url = request.getfixturevalue("qdrant_url")
    yield Place(own_home, url, f"test-job-{next(numbers)}")
    clean(url)
