"""Three real nodes: a re-index over all of them, and none while one is away."""

import json
import re
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.errors import StoreError
from retrieval.ops.doctor.job import run_checks
from retrieval.reindex.job import reindex
from retrieval.reindex.rollback import rollback
from retrieval.store.base import resolve
from tests.cli.conftest import finished, run
from tests.cluster.nodes import Cluster
from tests.errors import mentions, raises
from tests.ingest.jobs import Place as JobPlace
from tests.ingest.jobs import make_digits, make_model
from tests.ingest.jobs import until as job_reaches
from tests.reindex.conftest import NEW, OLD
from tests.reindex.places import Place, make_pictures

SECONDS = 60


def wrong(place: Place) -> dict[str, str]:
    """What `doctor` finds wrong with the cluster, by check; the model is on no disk here."""
    found = run_checks(lambda: place.settings, place.alias)
    return {row.check: row.found for row in found if row.state == "error" and "model" not in row.check}


def until(look: Callable[[], dict[str, str]], right: Callable[[dict[str, str]], bool]) -> dict[str, str]:
    """What is found once it is right; the peers take a moment to notice."""
    end = time.monotonic() + SECONDS
    while not right(found := look()) and time.monotonic() < end:
        time.sleep(0.2)
    assert right(found), found
    return found


@pytest.mark.long
@pytest.mark.usefixtures("xla_cache")
def test_a_collection_is_made_again_over_all_nodes_and_not_while_one_is_away(
    cluster: Cluster, own_home: Path, tmp_path: Path
) -> None:
    root, urls, alias = make_pictures(tmp_path / "pictures"), cluster.urls, "reindexed"
    assert len(urls) == 3
    place = Place(own_home, urls[0], alias)
    old = place.ingest(root, OLD)
    with place.opened() as store:
        assert store.health(old).troubles == ()
        new = reindex(store, place.alias, lambda sources: NEW, place.settings).collection
        place.answers(store, root, [NEW])
    for url in urls[1:]:  # every node knows of the swap
        with Place(own_home, url, alias).opened() as store:
            assert resolve(store, alias) == new
            place.answers(store, root, [NEW])
            assert rollback(store, alias, place.settings).collection == old
            new = reindex(store, alias, lambda sources: NEW, place.settings).collection

    every = Place(own_home, cluster.url, alias)
    assert not wrong(every)
    p2p = json.loads((cluster.folder / "cluster.json").read_text())[2]["p2p"]
    with cluster.without(2):
        found = until(lambda: wrong(every), lambda found: "peers" in found)
        assert mentions(found["node"], urls[2])
        assert f"(http://127.0.0.1:{p2p}/)" in found["peers"]
        assert "replicas" in found
        with every.opened() as store:
            facts = store.describe(new)
            assert (facts["peers"], len(facts["peers_away"]), "error" in facts["nodes"][urls[2]]) == (3, 1, True)
            assert [facts[name] for name in ("shards", "replicas", "write_consistency", "copies")] == [3, 2, 1, 6]
        for url in urls[:2]:
            with Place(own_home, url, alias).opened() as store:
                before = store.collections()
                with raises(StoreError, url, hint="") as refusal:
                    reindex(store, alias, lambda sources: NEW, place.settings)
                assert re.search("peer|replica", refusal.value.message), "what ails the cluster, as it is found first"
                assert (store.collections(), resolve(store, alias)) == (before, new)

    until(lambda: wrong(every), lambda found: not found)
    make_pictures(root, 70)
    with place.opened() as store:
        reindex(store, alias, lambda sources: OLD, place.settings)
        place.answers(store, root, [OLD])


@pytest.mark.long
@pytest.mark.usefixtures("xla_cache")
def test_killed_jobs_are_run_again(cluster: Cluster, own_home: Path, tmp_path: Path) -> None:
    """kill -9 of an ingest and of a re-index; ids are those of the other engines."""
    digits = make_digits(tmp_path / "digits", 200)
    make_model(own_home)
    jobs = JobPlace(own_home, cluster.urls[0], "killed-jobs")
    with jobs.started(digits, "--batch-size", 16) as process:
        job_reaches(lambda: jobs.stored >= 32, process)
        process.kill()
        assert finished(process).code in (0, -signal.SIGKILL)
    kept = jobs.points()
    said = run("ingest", digits, "--json", *jobs.options(), home=own_home).object
    assert said["unchanged"] + said["encoded"] == 200
    assert said["unchanged"] >= len(kept) >= 32
    (live,) = jobs.collections()
    found = cluster.same(live)
    names = [f"digits/{point['payload']['path']}" for point in found.values()]
    assert {*found} == {str(uuid.uuid5(uuid.NAMESPACE_URL, name)) for name in names}
    assert len(found) == 200

    root, place = make_pictures(tmp_path / "pictures"), Place(own_home, cluster.url, "killed-reindex")
    place.ingest(root, OLD)
    for step, encoder in (("gate", OLD), ("read back", NEW)):
        place.killed(step, 2)
        with place.opened() as store:
            place.answers(store, root, [encoder])
    with place.opened() as store:
        reindex(store, place.alias, lambda sources: NEW, place.settings)
        place.answers(store, root, [NEW])
