"""The steps of a re-index one by one: the collection to fill, waiting for it, moving the alias, dropping the rest."""

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.errors import Locked, ModelError, SourceError, StoreError, StoreUnavailable
from retrieval.ingest.context import Listing
from retrieval.ingest.pipeline import fill
from retrieval.ingest.summary import IngestSummary
from retrieval.model import saved_models
from retrieval.model.saved_models import SavedModel
from retrieval.reindex import candidate
from retrieval.reindex.candidate import add_counts, open_candidate, settle
from retrieval.reindex.job import reindex
from retrieval.reindex.outcome import ReindexOutcome
from retrieval.reindex.preflight import check_room_for_copy
from retrieval.reindex.rollback import rollback
from retrieval.reindex.swap import (
    adopt_default_model,
    check_answer,
    drop,
    drop_unused,
    find_earlier,
    mark_ready,
    read_back,
    tidy,
)
from retrieval.schema.index_config import DEFAULT
from retrieval.sources import Entry, Source
from retrieval.sources.read import Refused
from retrieval.store.base import CollectionHealth, Store, resolve
from retrieval.store.naming import find_unused
from retrieval.store.qdrant.connection import Connection, TimeLimits
from tests.errors import raises
from tests.reindex.conftest import NEW, OLD
from tests.reindex.encoders import Shades
from tests.reindex.places import PICTURES, Place
from tests.store.conftest import codes, meta, points
from tests.store.locks import taken_over

BEFORE, AFTER, LATER = "20000101t000000z", "20990101t000000z", "20990102t000000z"
"""Times in collections' names: before the live one, and after it."""


class Lost:
    """A lock that another job has taken over; the real lock is tested with the store."""

    holder = ""

    def check(self) -> None:
        raise Locked("taken over")


def model(models: Path, number: int) -> SavedModel:
    """A saved model without weights."""
    return saved_models.save(models, OLD.config, {"bias": np.full(1, number, np.float32)}, {}, reconstructions=b"")


def left(store: Store, place: Place, when: str, state: str, model: str = NEW.fingerprint, count: int = 3) -> str:
    """A collection of the alias that an earlier run made."""
    name = f"{place.alias}-{when}-{model[:8]}"
    store.create_collection(name, replace(meta(), model=model, state=state))  # type: ignore[arg-type]
    store.upsert(name, points(codes(count)))
    return name


def test_it_goes_on_with_the_newest_of_its_own_and_drops_what_others_left(store: Store, place: Place) -> None:
    live = resolve(store, place.alias)
    ready = left(store, place, "20000102t000000z", "ready", OLD.fingerprint)
    gone_back_from = left(store, place, "20000103t000000z", "rolled-back", OLD.fingerprint)
    doomed = [
        left(store, place, BEFORE, "filling"),
        left(store, place, AFTER, "filling"),
        left(store, place, AFTER, "filling", OLD.fingerprint),
        left(store, place, AFTER, "refused", "ffffffff"),
        left(store, place, "20990103t000000z", "filling", count=0),
    ]
    newest = left(store, place, LATER, "filling")
    outcome = ReindexOutcome(place.alias, live=live)
    assert open_candidate(store, outcome, NEW, DEFAULT) == newest
    assert sorted(outcome.dropped) == sorted(doomed)
    assert place.mine(store) == sorted([ready, gone_back_from, live, newest])


def test_otherwise_it_makes_one(store: Store, place: Place) -> None:
    live = resolve(store, place.alias)
    made = open_candidate(store, ReindexOutcome(place.alias, live=live), NEW, DEFAULT)
    found = store.metadata(made)
    assert made not in ("", live)
    assert (found.state, found.model, found.dim, store.count(made)) == ("filling", NEW.fingerprint, 4, 0)


def test_the_counts_of_two_passes() -> None:
    refused = Refused(Entry("cats", "7.png", 0, 0, None, bytes), "no picture")
    first = IngestSummary("images", "a", found=10, encoded=6, copied=2, deleted=1, unchanged=2, seconds=1.5)
    second = IngestSummary(
        "images", "a", found=12, encoded=1, copied=1, deleted=2, unchanged=9, seconds=2.0, refused=[refused]
    )
    assert add_counts(None, second) is second
    both = add_counts(first, second)
    assert both == replace(second, encoded=7, copied=3, deleted=3, seconds=3.5, unchanged=1)
    assert add_counts(first, replace(second, found=3)).unchanged == 0


@pytest.mark.parametrize(("busy", "passes"), [((), 2), ((1,), 3), ((1, 2), 4), ((1, 2, 3, 4), 4)])
def test_it_catches_up_until_nothing_came_but_not_for_ever(
    store: Store, place: Place, root: Path, busy: tuple[int, ...], passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest, done = fill, list[int]()

    def counted(*arguments: Any, **options: Any) -> IngestSummary:
        if (number := len(done)) in busy:
            shutil.copy(next(root.rglob("*.png")), root / f"new-{number}.png")
        done.append(number)
        return honest(*arguments, **options)

    def peek(source: Source) -> Listing:  # so that a pass finds what comes as it begins
        return Listing(source, source.entries())

    monkeypatch.setattr(candidate, "fill", counted)
    monkeypatch.setattr(candidate, "peek", peek)
    found = reindex(store, place.alias, lambda sources: NEW, place.settings)
    assert len(done) == passes
    assert found.counts is not None
    assert found.counts.found == PICTURES + sum(number < passes for number in busy)


def test_it_waits_for_an_engine_that_is_at_work(store: Store, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    live = resolve(store, place.alias)
    honest, asked = type(store).health, list[str]()
    busy = [CollectionHealth(False), CollectionHealth(True, ("a replica does not answer",))]

    def health(self: Store, collection: str) -> CollectionHealth:
        asked.append(collection)
        return busy.pop(0) if busy else honest(self, collection)

    monkeypatch.setattr(type(store), "health", health)
    settle(store, live)
    assert asked == [live] * 3


@pytest.mark.parametrize(
    ("now", "named"),
    [
        (CollectionHealth(False), ["indexed"]),
        (
            CollectionHealth(True, ("peer 7 does not answer", "its status is red")),
            ["peer 7", "red"],
        ),
    ],
)
def test_and_not_for_ever(
    store: Store, place: Place, now: CollectionHealth, named: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(store), "health", lambda self, collection: now)
    monkeypatch.setattr(candidate, "SETTLE_SECONDS", -1.0)
    live = resolve(store, place.alias)
    with raises(StoreError, live, *named, hint=""):
        settle(store, live)


def test_what_can_be_gone_back_to(store: Store, place: Place) -> None:
    live = resolve(store, place.alias)
    first = left(store, place, BEFORE, "ready")
    second = left(store, place, "20000102t000000z", "ready")
    left(store, place, "20000103t000000z", "ready", count=0)
    left(store, place, "20000104t000000z", "rolled-back")
    left(store, place, "20000105t000000z", "filling")
    left(store, place, AFTER, "ready")
    pointed_at = left(store, place, "20000106t000000z", "ready")
    store.move_alias(f"{place.alias}-stable", pointed_at)
    assert find_earlier(store, live, find_unused(store, place.alias)) == [second, first]


def tidied(store: Store, place: Place) -> None:
    with store.lock(place.alias) as held:
        tidy(store, held, place.alias, resolve(store, place.alias), keep=2)


@pytest.mark.parametrize(
    ("job", "operation"),
    [
        (tidied, "metadata"),
        (tidied, "count"),
        (lambda store, place: rollback(store, place.alias, place.settings), "metadata"),
        (lambda store, place: rollback(store, place.alias, place.settings), "count"),
        (lambda store, place: drop_unused(store), "metadata"),
    ],
)
def test_what_does_not_answer_is_neither_dropped_nor_passed_over(
    store: Store, place: Place, job: Callable[[Store, Place], object], operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A temporary error, once, while the collections to keep, to drop and to go back to are determined."""
    live = resolve(store, place.alias)
    older, before = left(store, place, BEFORE, "ready"), left(store, place, "20000102t000000z", "ready")
    honest, failed = getattr(type(store), operation), list[str]()

    def once(self: Store, collection: str, *arguments: Any) -> Any:
        if collection == before and not failed:
            failed.append(collection)
            raise StoreUnavailable("does not answer")
        return honest(self, collection, *arguments)

    monkeypatch.setattr(type(store), operation, once)
    with pytest.raises(StoreUnavailable):
        job(store, place)
    assert failed
    assert place.mine(store) == [older, before, live]
    assert resolve(store, place.alias) == live
    job(store, place)
    assert (before in place.mine(store)) == (job.__name__ == "tidied" or resolve(store, place.alias) == before)


def test_nothing_is_dropped_once_the_lock_is_lost(store: Store, place: Place) -> None:
    live = resolve(store, place.alias)
    old = left(store, place, BEFORE, "ready")
    with pytest.raises(Locked):
        drop(store, Lost(), [old])
    with pytest.raises(Locked):
        tidy(store, Lost(), place.alias, live, keep=0)
    assert place.mine(store) == [old, live]
    with store.lock(place.alias) as held:
        assert tidy(store, held, place.alias, live, keep=1) == []
        assert tidy(store, held, place.alias, live, keep=0) == [old]


def test_the_alias_stays_once_the_lock_is_lost(store: Store, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    old = resolve(store, place.alias)
    live = reindex(store, place.alias, lambda sources: NEW, place.settings).collection
    honest = type(store).lock

    @contextlib.contextmanager
    def lock(self: Store, alias: str) -> Iterator[Lost]:
        with honest(self, alias):
            yield Lost()

    monkeypatch.setattr(type(store), "lock", lock)
    with pytest.raises(Locked):
        rollback(store, place.alias, place.settings)
    assert resolve(store, place.alias) == live
    assert store.metadata(live).state == store.metadata(old).state == "ready"


def test_the_alias_stays_when_the_one_before_does_not_answer(
    store: Store, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    reindex(store, place.alias, lambda sources: NEW, place.settings)
    live = resolve(store, place.alias)
    honest = type(store).query

    def query(self: Store, collection: str, asked: object, k: int) -> object:
        return honest(self, collection, asked, k) if resolve(self, place.alias) == live else [[]]  # type: ignore[arg-type]

    monkeypatch.setattr(type(store), "query", query)
    with raises(StoreError, place.alias, f"back to {live}"):
        rollback(store, place.alias, place.settings)
    assert (resolve(store, place.alias), store.metadata(live).state) == (live, "ready")


def test_a_collection_whose_model_is_damaged_is_not_gone_back_to(store: Store, place: Place, tmp_path: Path) -> None:
    old = Shades(7)
    old.fingerprint = model(tmp_path / "another machine", 1).fingerprint
    back = reindex(store, place.alias, lambda sources: old, place.settings).collection
    live = reindex(store, place.alias, lambda sources: NEW, place.settings).collection
    saved = model(place.settings.models, 1)
    whole = (saved.path / "metrics.json").read_bytes()
    (saved.path / "metrics.json").write_bytes(b"{}")
    with raises(ModelError, saved.path, saved.fingerprint[:8], hint=""):
        rollback(store, place.alias, place.settings)
    assert resolve(store, place.alias) == live
    (saved.path / "metrics.json").write_bytes(whole)
    assert rollback(store, place.alias, place.settings).collection == back


def test_which_model_is_the_default_afterwards(tmp_path: Path) -> None:
    models = tmp_path / "models"
    first, second, third = (model(models, number) for number in range(3))
    adopt_default_model(models, first.fingerprint, second.fingerprint)
    assert saved_models.default(models) == second.path, "there was none"
    adopt_default_model(models, second.fingerprint, third.fingerprint)
    assert saved_models.default(models) == third.path, "it was the old collection's"
    adopt_default_model(models, second.fingerprint, first.fingerprint)
    assert saved_models.default(models) == third.path, "the user chose another"
    adopt_default_model(models, second.fingerprint, first.fingerprint, fresh=True)
    assert saved_models.default(models) == first.path, "it was trained for this"
    adopt_default_model(models, first.fingerprint, "0" * 64, fresh=True)
    assert saved_models.default(models) == first.path, "the new one is not on this machine"


def test_an_engine_that_is_not_whole(store: Store, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    live = resolve(store, place.alias)
    trouble = CollectionHealth(False, ("peer 7 does not answer", "its status is red"))
    monkeypatch.setattr(type(store), "health", lambda self, collection: trouble)
    with raises(StoreError, store.location, "peer 7", "red", hint=""):
        reindex(store, place.alias, lambda sources: NEW, place.settings)
    assert place.mine(store) == [live]


def test_a_collection_that_records_no_source(store: Store, place: Place) -> None:
    live = resolve(store, place.alias)
    store.set_metadata(live, replace(store.metadata(live), sources={}))
    with raises(SourceError, live, hint="retrieval ingest SOURCE"):
        reindex(store, place.alias, lambda sources: NEW, place.settings)


def test_codes_that_are_longer_need_more_room(own_home: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(own_home, None, "images")
    live = place.ingest(root, OLD)
    with place.opened() as store:
        taken, _ = store.disk_usage(live) or (0, 0)
        for free, dims in ((taken, (4, 4)), (taken, (4, 2)), (2 * taken, (4, 8)), (taken, (8, 4))):
            monkeypatch.setattr(type(store), "disk_usage", lambda self, name, free=free: (taken, free))
            check_room_for_copy(store, live, dims)
        for free, dims in ((taken - 1, (4, 4)), (taken - 1, (8, 4)), (2 * taken - 1, (4, 8))):
            monkeypatch.setattr(type(store), "disk_usage", lambda self, name, free=free: (taken, free))
            with raises(StoreError, live, "MiB", hint="retrieval collections --prune"):
                check_room_for_copy(store, live, dims)


def test_a_collection_that_does_not_find_its_own(store: Store, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    live = resolve(store, place.alias)
    check_answer(store, live)
    honest = type(store).query

    def second_best(self: Store, collection: str, asked: object, k: int) -> object:
        return [hits[1:] for hits in honest(self, collection, asked, k + 1)]  # type: ignore[arg-type]

    monkeypatch.setattr(type(store), "query", second_best)
    with raises(StoreError, live, "point"):
        check_answer(store, live)


def test_an_alias_that_another_program_moved(store: Store, place: Place) -> None:
    live = resolve(store, place.alias)
    new, third = (left(store, place, when, "filling") for when in (AFTER, LATER))
    store.move_alias(place.alias, third)
    with raises(StoreError, new, f"back to {live}", third):
        read_back(store, place.alias, new, live)
    assert resolve(store, place.alias) == live
    store.move_alias(place.alias, new)
    read_back(store, place.alias, new, live)
    assert resolve(store, place.alias) == new


def test_an_alias_goes_back_from_a_collection_that_was_emptied_meanwhile(store: Store, place: Place) -> None:
    live, empty = resolve(store, place.alias), left(store, place, AFTER, "filling", count=0)
    store.move_alias(place.alias, empty)
    with raises(StoreError, empty, f"back to {live}", "point"):
        read_back(store, place.alias, empty, live)
    assert resolve(store, place.alias) == live


def test_an_alias_is_not_moved_back_once_the_lock_is_lost(place: Place, qdrant_url: str) -> None:
    """What another job has done to the alias meanwhile is kept, and the error says so."""
    if place.url is None:
        return
    with place.opened() as store, contextlib.closing(Connection(qdrant_url, None, TimeLimits())) as other:
        live, empty = resolve(store, place.alias), left(store, place, AFTER, "filling", count=0)
        with store.lock(place.alias):
            store.move_alias(place.alias, empty)
            theirs = taken_over(other, place.alias)
            with raises(Locked, empty, "taken over", f"{place.alias} points at {empty}"):
                read_back(store, place.alias, empty, live)
        assert resolve(store, place.alias) == empty
        theirs.release()


def test_what_a_rollback_left_stays_marked(store: Store, place: Place) -> None:
    for state in ("rolling-back", "rolled-back"):
        name = left(store, place, AFTER if state == "rolling-back" else LATER, state)
        assert mark_ready(store, name).state == store.metadata(name).state == state


def test_what_is_in_use_is_marked(store: Store, place: Place) -> None:
    new = left(store, place, AFTER, "filling")
    assert mark_ready(store, new).state == store.metadata(new).state == "ready"
    assert mark_ready(store, new) == store.metadata(new)
