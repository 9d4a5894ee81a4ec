"""kill -9 at the start of each step, and in the middle of some: the alias always answers, and the next run resumes."""

import signal
from pathlib import Path

import pytest

from retrieval.reindex.job import STEPS, reindex
from retrieval.reindex.swap import drop_unused
from retrieval.store.base import resolve
from tests.cli.test_interrupted import heed_ctrl_c  # noqa: F401 - a fixture
from tests.reindex.conftest import NEW, OLD
from tests.reindex.places import Place, make_pictures
from tests.store import servers


@pytest.mark.parametrize("step", STEPS)
def test_killed_where_a_step_begins(step: str, place: Place, root: Path) -> None:
    with place.opened() as store:
        old = resolve(store, place.alias)
    place.killed(step, seed=2)
    with place.opened() as store:
        left = place.mine(store)
        live = place.answers(store, root, [OLD, NEW]).model
        assert live == (NEW if step in ("read back", "tidy") else OLD).fingerprint
        done = reindex(store, place.alias, lambda sources: NEW, place.settings)
        assert place.answers(store, root, [NEW]).state == "ready"
        assert done.counts is not None
        if step in ("catch up", "settle", "gate", "swap"):
            assert done.collection == left[-1], "it goes on with what is filled"
            assert done.counts.encoded == 0
        assert store.metadata(old).state == "ready"
        drop_unused(store)
        assert place.mine(store) == [resolve(store, place.alias)], "nothing is orphaned"
        place.answers(store, root, [NEW])


@pytest.mark.parametrize("seconds", [0.02, 0.2])
def test_killed_while_it_fills(seconds: float, place: Place, root: Path) -> None:
    make_pictures(root, 1500)
    with place.opened() as store:
        old = resolve(store, place.alias)
    place.killed("fill", seed=2, seconds=seconds)
    with place.opened() as store:
        assert resolve(store, place.alias) == old
        reindex(store, place.alias, lambda sources: NEW, place.settings)
        place.answers(store, root, [NEW])
        drop_unused(store)
        assert place.mine(store) == [resolve(store, place.alias)]


def test_the_server_is_killed_in_the_middle(qdrant_binary: Path, tmp_path: Path, root: Path, own_home: Path) -> None:
    folder = tmp_path / "own-server"
    with servers.running(folder) as url:
        place = Place(own_home, url, "test-restart")
        place.ingest(root, OLD)
        trouble = ["fill", "gate", "tidy"]

        def restart(step: str, outcome: object) -> None:
            if step in trouble:
                trouble.remove(step)
                servers.kill(folder)
                port = url.rsplit(":", 1)[1]
                again = servers.qdrant("start", "--dir", str(folder), "--http-port", port)
                assert again.returncode == 0, again.stderr

        with place.opened() as store:
            reindex(store, place.alias, lambda sources: NEW, place.settings, step=restart)
            assert trouble == []
            place.answers(store, root, [NEW])


@pytest.mark.usefixtures("heed_ctrl_c")
def test_ctrl_c_changes_nothing(place: Place, root: Path) -> None:
    def stop(step: str, outcome: object) -> None:
        if step == "gate":
            signal.raise_signal(signal.SIGINT)

    with place.opened() as store:
        old = resolve(store, place.alias)
        with pytest.raises(KeyboardInterrupt):
            reindex(store, place.alias, lambda sources: NEW, place.settings, step=stop)
        assert resolve(store, place.alias) == old
    with place.opened() as store:  # the lock is free
        assert reindex(store, place.alias, lambda sources: NEW, place.settings).state == "swapped"
