"""Three real nodes: a re-index over all of them, and none while one is away."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval.errors import StoreError
from retrieval.reindex.job import reindex
from retrieval.reindex.rollback import rollback
from retrieval.store.base import resolve
from tests.reindex.conftest import NEW, OLD
from tests.reindex.places import Place, make_pictures
from tests.store import servers


@pytest.fixture(scope="module")
def cluster(qdrant_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[str]]]:
    """Folder and URLs of three nodes."""
    folder = tmp_path_factory.mktemp("cluster")
    started = servers.qdrant("cluster", "start", "--dir", str(folder))
    assert started.returncode == 0, started.stderr
    yield folder, started.stdout.split()
    assert servers.qdrant("cluster", "stop", "--dir", str(folder)).returncode == 0


@pytest.mark.long
def test_a_cluster(cluster: tuple[Path, list[str]], root: Path, own_home: Path) -> None:
    folder, urls = cluster
    assert len(urls) == 3
    place = Place(own_home, urls[0], "images")
    old = place.ingest(root, OLD)
    with place.opened() as store:
        assert store.condition(old).troubles == ()
        new = reindex(store, place.alias, lambda sources: NEW, place.settings).collection
        place.answers(store, root, [NEW])
    for url in urls[1:]:  # every node knows of the swap
        with Place(own_home, url, "images").opened() as store:
            assert resolve(store, "images") == new
            place.answers(store, root, [NEW])
            assert rollback(store, "images", place.settings).collection == old
            new = reindex(store, "images", lambda sources: NEW, place.settings).collection

    servers.kill(folder / "node-3")
    for url in urls[:2]:
        with Place(own_home, url, "images").opened() as store:
            before = store.collections()
            with pytest.raises(StoreError, match=r"is not whole: .*(peer|replica).*; nothing was changed"):
                reindex(store, "images", lambda sources: NEW, place.settings)
            assert (store.collections(), resolve(store, "images")) == (before, new)

    again = servers.qdrant("cluster", "start", "--dir", str(folder))
    assert again.stdout.split() == urls, again.stderr
    make_pictures(root, 70)
    with place.opened() as store:
        reindex(store, "images", lambda sources: OLD, place.settings)
        place.answers(store, root, [OLD])
