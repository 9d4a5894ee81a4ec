"""Three real nodes: a re-index over all of them, and none while one is away."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from retrieval.doctor.job import examine
from retrieval.errors import StoreError
from retrieval.reindex.job import reindex
from retrieval.reindex.rollback import rollback
from retrieval.store.base import resolve
from tests.reindex.conftest import NEW, OLD
from tests.reindex.places import Place, make_pictures
from tests.store import servers

SECONDS = 60


@pytest.fixture(scope="module")
def cluster(qdrant_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[str]]]:
    """Folder and URLs of three nodes."""
    folder = tmp_path_factory.mktemp("cluster")
    started = servers.qdrant("cluster", "start", "--dir", str(folder))
    assert started.returncode == 0, started.stderr
    yield folder, started.stdout.split()
    assert servers.qdrant("cluster", "stop", "--dir", str(folder)).returncode == 0


def wrong(place: Place) -> dict[str, str]:
    """What `doctor` finds wrong with the cluster, by check; the model is on no disk here."""
    found = examine(lambda: place.settings, place.alias)
    return {row.check: row.found for row in found if row.state == "error" and "model" not in row.check}


def until(look: Callable[[], dict[str, str]], right: Callable[[dict[str, str]], bool]) -> dict[str, str]:
    """What is found once it is right; the peers take a moment to notice."""
    end = time.monotonic() + SECONDS
    while not right(found := look()) and time.monotonic() < end:
        time.sleep(0.2)
    assert right(found), found
    return found


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

    every = Place(own_home, ",".join(urls), "images")
    assert not wrong(every)
    servers.kill(folder / "node-3")
    p2p = json.loads((folder / "cluster.json").read_text())[2]["p2p"]
    found = until(lambda: wrong(every), lambda found: "peers" in found)
    assert found["node"].startswith(f"{urls[2]} does not answer (")
    assert f" (http://127.0.0.1:{p2p}/) does not answer the others" in found["peers"]
    assert "replicas" in found
    with every.opened() as store:
        facts = store.describe(new)
        assert (facts["peers"], len(facts["peers_away"]), "error" in facts["nodes"][urls[2]]) == (3, 1, True)
        assert [facts[name] for name in ("shards", "replicas", "write_consistency", "copies")] == [3, 2, 1, 6]
    for url in urls[:2]:
        with Place(own_home, url, "images").opened() as store:
            before = store.collections()
            with pytest.raises(StoreError, match=r"is not whole: .*(peer|replica).*; nothing was changed"):
                reindex(store, "images", lambda sources: NEW, place.settings)
            assert (store.collections(), resolve(store, "images")) == (before, new)

    again = servers.qdrant("cluster", "start", "--dir", str(folder))
    assert again.stdout.split() == urls, again.stderr
    until(lambda: wrong(every), lambda found: not found)
    make_pictures(root, 70)
    with place.opened() as store:
        reindex(store, "images", lambda sources: OLD, place.settings)
        place.answers(store, root, [OLD])
