"""Both engines, each with a live collection of sixty images."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval.store.base import Store
from tests.cli.conftest import call  # noqa: F401 - a fixture
from tests.reindex.encoders import Shades
from tests.reindex.places import Place, make_pictures
from tests.store.conftest import clean, numbers

OLD, NEW, WIDE = Shades(1), Shades(2), Shades(3, dim=7)


@pytest.fixture(autouse=True)
def compiled(xla_cache: Path) -> None:
    """The gate's distortions are compiled once."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_pictures(tmp_path / "pictures")


@pytest.fixture(params=["embedded", "server"])
def place(request: pytest.FixtureRequest, root: Path, own_home: Path) -> Iterator[Place]:
    """The images with OLD's embeddings."""
    if request.param == "embedded":
        made = Place(own_home, None, "images")
        made.ingest(root, OLD)
        yield made
        return
    url = request.getfixturevalue("qdrant_url")
    made = Place(own_home, url, f"test-reindex-{next(numbers)}")
    made.ingest(root, OLD)
    yield made
    clean(url)


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    with place.opened() as store:
        yield store
