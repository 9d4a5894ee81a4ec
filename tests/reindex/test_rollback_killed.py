"""kill -9 at each point of a rollback: the next one finishes it, and none goes back to the collection that was left."""

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from retrieval.errors import StoreError
from retrieval.model import saved_models
from retrieval.reindex import rollback as job
from retrieval.reindex.rollback import rollback
from retrieval.store.base import Store, resolve
from tests.cli.conftest import environment, finished
from tests.processes import ROOT, Process
from tests.reindex.places import Place
from tests.reindex.test_steps import AFTER, BEFORE, left, model
from tests.store.conftest import codes, meta, points

CHILD = """
import os, signal, sys
from tests.reindex.places import Place
from retrieval.reindex import rollback as job
home, url, alias, point = sys.argv[1:]
place = Place(home, url or None, alias)
done = []

def dying(name, honest):
    def call(*arguments, **options):
        done.append(name)
        if point == f"before {done.count(name)}. {name}":
            os.kill(os.getpid(), signal.SIGKILL)
        answer = honest(*arguments, **options)
        if point == f"after {done.count(name)}. {name}":
            os.kill(os.getpid(), signal.SIGKILL)
        return answer
    return call

with place.opened() as store:
    for name in ("set_metadata", "move_alias"):
        setattr(type(store), name, dying(name, getattr(type(store), name)))
    for name in ("read_back", "adopt_default_model"):
        setattr(job, name, dying(name, getattr(job, name)))
    job.rollback(store, alias, place.settings)
"""
POINTS = {
    "before 1. set_metadata": "nothing is done",
    "after 1. set_metadata": "nothing is done",  # but what was written since is being carried over
    "after 2. set_metadata": "marked",
    "after 1. move_alias": "moved",
    "after 1. read_back": "moved",
    "after 1. adopt_default_model": "moved",
    "after 3. set_metadata": "done",
}


def killed(place: Place, point: str) -> None:
    arguments = place.home, place.url or "", place.alias, point
    with Process(CHILD, *arguments, environment=environment(Path(place.home)), folder=ROOT) as process:
        done = finished(process)
    assert done.code == -9, done.err


def history(store: Store, place: Place) -> tuple[str, str, str]:
    """Two earlier collections and the live one; the model of the second is on this machine."""
    saved = model(place.settings.models, 1)
    first, second = left(store, place, BEFORE, "ready"), f"{place.alias}-20000102t000000z-{saved.fingerprint[:8]}"
    store.create_collection(second, replace(meta(), model=saved.fingerprint))
    store.upsert(second, points(codes(3)))
    return first, second, resolve(store, place.alias)


@pytest.mark.parametrize("point", [point for point, reached in POINTS.items() if reached != "done"])
def test_the_next_one_does_what_was_left_to_do(place: Place, point: str) -> None:
    with place.opened() as store:
        _, good, bad = history(store, place)
    killed(place, point)
    with place.opened() as store:
        assert resolve(store, place.alias) == (good if POINTS[point] == "moved" else bad)
        done = rollback(store, place.alias, place.settings)
        assert (done.collection, done.left) == (good, bad), "no further back"
        assert resolve(store, place.alias) == good
        assert store.metadata(bad).state == "rolled-back"
        default = saved_models.default(place.settings.models)
        assert default == saved_models.folder_of(place.settings.models, store.metadata(good).model)


@pytest.mark.parametrize("point", [point for point, reached in POINTS.items() if reached != "nothing is done"])
def test_none_leads_to_what_was_left(place: Place, point: str) -> None:
    """Even if a new collection has gone live meanwhile, and no rollback was run again."""
    with place.opened() as store:
        first, good, bad = history(store, place)
    killed(place, point)
    with place.opened() as store:
        new = left(store, place, AFTER, "ready")
        store.move_alias(place.alias, new)
        assert rollback(store, place.alias, place.settings).collection == good
        assert rollback(store, place.alias, place.settings).collection == first
        assert store.metadata(bad).state in ("rolling-back", "rolled-back")


def test_one_that_is_refused_takes_its_mark_back(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(store: Store, alias: str, back: str) -> float:
        raise StoreError("refused")

    with place.opened() as store:
        _, good, bad = history(store, place)
        with monkeypatch.context() as patch, contextlib.suppress(StoreError):
            patch.setattr(job, "swap", refuse)
            rollback(store, place.alias, place.settings)
        assert store.metadata(bad).state == "ready"
        assert rollback(store, place.alias, place.settings).collection == good
