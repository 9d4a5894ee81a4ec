"""Sixty small images on either engine, one of them three times over, by an encoder whose codes can be worked out."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval.model.encoder import Encoder
from retrieval.search.query import Query
from retrieval.search.run import LiveCollection
from retrieval.store.base import Store
from tests.reindex.encoders import Shades
from tests.reindex.places import Place, make_pictures
from tests.store.conftest import clean, numbers

SHADES = Shades(1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """`dark/000.png`, `grey/001.png`, `light/002.png`, …; `grey/001.png` also as `copy/a.png` and `copy/b.png`."""
    root = make_pictures(tmp_path / "pictures")
    (root / "copy").mkdir()
    for name in "ab":
        shutil.copy(root / "grey" / "001.png", root / "copy" / f"{name}.png")
    return root


@dataclasses.dataclass(frozen=True)
class Shelf:
    """The images, in a store that is open."""

    store: Store
    place: Place
    root: Path
    live: LiveCollection

    def query(self, key: str) -> Query:
        return Query.of(key, (self.root / key).read_bytes)

    def names(self) -> list[str]:
        return sorted(file.relative_to(self.root).as_posix() for file in self.root.rglob("*.png"))


@pytest.fixture(params=["embedded", "server"])
def shelf(request: pytest.FixtureRequest, root: Path, own_home: Path) -> Iterator[Shelf]:
    """The store and collection that tests search."""
    url = None if request.param == "embedded" else request.getfixturevalue("qdrant_url")
    place = Place(own_home, url, f"test-search-{next(numbers)}")
    place.ingest(root, SHADES)
    with place.opened() as store:
        collection = store.aliases()[place.alias]
        yield Shelf(store, place, root, LiveCollection(collection, store.metadata(collection), ready))
    if url:
        clean(url)


def ready(mark: str) -> Encoder:
    assert mark == SHADES.fingerprint
    return SHADES  # type: ignore[return-value]
