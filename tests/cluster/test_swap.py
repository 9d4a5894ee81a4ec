"""An alias that is moved while all three nodes are asked: each answer is whole, from one collection by its encoder."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import RetrievalError
from retrieval.reindex.job import reindex
from retrieval.reindex.options import ReindexOptions
from retrieval.reindex.rollback import rollback
from retrieval.store.qdrant.connection import Connection, TimeLimits
from retrieval.store.qdrant.lock import JoinedLock, Lock
from tests.cluster.nodes import Cluster
from tests.reindex.conftest import NEW, OLD, WIDE
from tests.reindex.places import PICTURES, Place, make_pictures
from tests.reindex.test_readers import fitting, pixels, query, reader
from tests.store.conftest import codes, connected, meta, points
from tests.store.faults import LOSE, proxy

ENCODERS = (OLD, NEW, WIDE)


@pytest.mark.long
@pytest.mark.usefixtures("xla_cache")
def test_no_node_gives_an_empty_or_mixed_answer_while_the_alias_moves(
    cluster: Cluster, own_home: Path, tmp_path: Path
) -> None:
    root = make_pictures(tmp_path / "pictures")
    files = sorted(root.rglob("*.png"))
    rows = {file.relative_to(root).as_posix(): row for row, file in enumerate(files)}
    own = [encoder.encode(np.stack([pixels(file) for file in files])) for encoder in ENCODERS]
    place = Place(own_home, cluster.url, "swapped")
    place.ingest(root, OLD)
    wrong: list[object] = []
    over = threading.Event()

    def look(url: str) -> set[int]:
        """Which models answered."""
        models: set[int] = set()
        number = 0
        with Place(own_home, url, place.alias).opened() as store:
            asking = reader(store, place.alias)
            while not over.is_set():
                number = (number + 1) % len(files)
                try:
                    (result,) = asking.search([query(files[number])])
                except RetrievalError as error:
                    wrong.append((url, error))
                    continue
                fits = fitting(result, rows, own, number)
                models.update(fits)
                if len(result.hits) != 5 or not fits:
                    wrong.append((url, result.hits))
        return models

    with ThreadPoolExecutor(2 * len(cluster.urls)) as pool, place.opened() as store, ExitStack() as stack:
        stack.callback(over.set)
        readers = [pool.submit(look, url) for url in 2 * cluster.urls]
        for encoder in (NEW, WIDE, OLD, NEW):
            new = reindex(store, place.alias, lambda sources, e=encoder: e, place.settings, ReindexOptions(keep=1))  # type: ignore[misc]
            assert new.state == "swapped"
        live = rollback(store, place.alias, place.settings).collection
        over.set()
        assert [asked.result() for asked in readers] == [{0, 1, 2}] * len(readers)
    assert wrong == []
    assert len(cluster.same(live)) == PICTURES


def test_a_collection_whose_making_is_not_answered_is_made_once(cluster: Cluster) -> None:
    with proxy(cluster.urls[0]) as between, connected(between.url) as store:
        between.fail("/unanswered", LOSE, LOSE)
        store.create_collection("unanswered", meta())
        store.upsert("unanswered", points(codes(20)))
        assert between.seen.count("PUT /collections/unanswered") > 1
        assert len(cluster.same("unanswered")) == 20
        store.drop_collection("unanswered")


@pytest.mark.long
def test_a_lock_that_is_being_renewed_is_not_taken_for_lost(cluster: Cluster) -> None:
    """While a write reaches one replica after the other, a quorum leaves the record out."""
    with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
        one, two = (stack.enter_context(closing(Connection(url, None, TimeLimits()))) for url in cluster.urls[:2])
        lock, joined, over = Lock(one, "ours"), JoinedLock(two, "ours"), threading.Event()
        lock.take("renewed")

        def renew() -> None:
            while not over.is_set():
                lock.renew()

        renewing = pool.submit(renew)
        try:
            joined.take("renewed")
            for _ in range(300):
                joined.verify()
        finally:
            over.set()
        renewing.result()
        lock.release()


@pytest.mark.long
def test_what_was_changed_at_one_node_is_seen_at_the_others(cluster: Cluster) -> None:
    """By the next job, which may ask another one."""
    first, *others = cluster.urls
    with ExitStack() as stack:
        writing, *reading = (stack.enter_context(connected(url)) for url in (cluster.url, *others))
        for name in ("seen-1", "seen-2"):
            writing.create_collection(name, meta())
        for number in range(100):
            name, now = f"seen-{1 + number % 2}", replace(meta(), public_url=f"{first}/{number}")
            writing.set_metadata(name, now)
            assert [store.metadata(name) for store in reading] == [now, now]
            writing.move_alias("seen", name)
            assert [store.aliases()["seen"] for store in reading] == [name, name]
        writing.drop_collection("seen-1")
