"""A re-index on both engines: what is made, swapped, kept and dropped, and what is refused before it starts."""

import dataclasses
import datetime as dt
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from retrieval.errors import Locked, NoCollection, SourceError, StoreError
from retrieval.ingest.job import ingest
from retrieval.reindex.job import STEPS, reindex
from retrieval.reindex.options import ReindexOptions
from retrieval.reindex.outcome import ReindexOutcome
from retrieval.reindex.rollback import rollback
from retrieval.reindex.swap import drop_unused
from retrieval.sources.folder import File
from retrieval.store import naming
from retrieval.store.base import Store, resolve
from retrieval.store.edge.shard import RESERVE_BYTES
from tests.errors import raises
from tests.reindex.conftest import NEW, OLD, WIDE
from tests.reindex.encoders import Shades
from tests.reindex.places import PICTURES, Place


def run(store: Store, place: Place, encoder: Shades, **options: object) -> ReindexOutcome:
    return reindex(store, place.alias, lambda sources: encoder, place.settings, ReindexOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize("encoder", [NEW, WIDE], ids=["same dimension", "another dimension"])
def test_the_alias_names_a_new_collection_of_the_same_images(
    store: Store, place: Place, root: Path, encoder: Shades
) -> None:
    old = resolve(store, place.alias)
    labels = {p.id: p.payload["label"] for page in store.scroll(old) for p in page}
    steps: list[str] = []

    def step(name: str, outcome: ReindexOutcome) -> None:
        steps.extend([name] if name not in steps else [])
        live = resolve(store, place.alias)
        assert live == (outcome.collection if steps[-1] in ("read back", "tidy") else old)

    done = reindex(store, place.alias, lambda sources: encoder, place.settings, step=step)
    assert steps == list(STEPS)
    assert (done.state, done.live, done.model) == ("swapped", old, encoder.fingerprint)
    assert done.counts is not None
    assert (done.counts.found, done.counts.encoded, done.counts.unchanged) == (PICTURES, PICTURES, 0)
    assert done.swap_seconds is not None
    assert 0 < done.swap_seconds <= done.seconds
    assert resolve(store, place.alias) == done.collection > old
    meta = place.answers(store, root, [encoder])
    assert (meta.state, meta.labelled, set(meta.sources)) == ("ready", ("pictures",), {"pictures"})
    assert meta.evaluation["recall_at_5"] == 1
    assert meta.evaluation["finds_itself"] == 1
    assert labels == {p.id: p.payload["label"] for page in store.scroll(done.collection) for p in page}


def test_what_the_user_said_of_an_image_goes_with_it(store: Store, place: Place) -> None:
    live = resolve(store, place.alias)
    point = next(store.scroll(live))[0]
    store.set_payload(live, {point.id: {**point.payload, "room": "kitchen"}})
    done = run(store, place, NEW)
    assert store.retrieve(done.collection, [point.id])[point.id].payload["room"] == "kitchen"


def test_files_that_come_and_go_meanwhile_are_caught_up_with(store: Store, place: Place, root: Path) -> None:
    pictures = sorted(root.rglob("*.png"))
    changes: list[Callable[[], object]] = [
        pictures[0].unlink,
        lambda: shutil.copy(pictures[1], root / "new.png"),
        lambda: pictures[2].write_bytes(pictures[3].read_bytes()),
    ]

    def step(name: str, outcome: ReindexOutcome) -> None:
        if name == "catch up" and changes:
            changes.pop()()

    done = reindex(store, place.alias, lambda sources: NEW, place.settings, step=step)
    assert done.counts is not None
    assert (done.counts.found, done.counts.deleted, done.counts.copied) == (PICTURES, 1, 2)
    keys = {p.payload["path"] for page in store.scroll(done.collection) for p in page}
    assert keys == {file.relative_to(root).as_posix() for file in root.rglob("*.png")}


def test_the_collections_before_stay_and_older_ones_go(store: Store, place: Place) -> None:
    names = [resolve(store, place.alias)]
    dropped = []
    for seed in range(10, 14):
        done = run(store, place, Shades(seed))
        names.append(done.collection)
        dropped += done.dropped
    assert place.mine(store) == names[-3:]
    assert dropped == names[:2]
    assert run(store, place, NEW, keep=0).dropped == names[-3:]
    assert place.mine(store) == [resolve(store, place.alias)]


def test_a_dry_run_changes_nothing_and_the_next_run_goes_on_with_it(store: Store, place: Place) -> None:
    old = resolve(store, place.alias)
    first = run(store, place, NEW, dry_run=True)
    assert (first.state, resolve(store, place.alias)) == ("checked", old)
    assert all(row.passed is not False for row in first.gate)
    second = run(store, place, NEW)
    assert second.collection == first.collection == resolve(store, place.alias)
    assert second.counts is not None
    assert (second.counts.encoded, second.counts.unchanged) == (0, PICTURES)


def test_what_is_not_due_is_not_done(store: Store, place: Place, root: Path) -> None:
    old = resolve(store, place.alias)
    assert run(store, place, NEW, older_than=3600).state == "recent"
    assert run(store, place, OLD, if_changed=True).state == "unchanged"
    trained = run(store, place, NEW, if_changed=True, fresh=True)
    assert (trained.state, trained.model) == ("unchanged", ""), "before there is a model"
    assert place.mine(store) == [old]
    assert run(store, place, OLD, older_than=1e-9, if_changed=False).state == "swapped"
    next(root.rglob("*.png")).unlink()
    assert run(store, place, OLD, if_changed=True).state == "swapped"
    assert run(store, place, OLD, if_changed=True).state == "unchanged"
    assert run(store, place, NEW, if_changed=True).state == "swapped"


@pytest.mark.parametrize("created", ["2999-01-01T00:00:00+00:00", "yesterday"])
def test_a_collection_whose_age_is_not_known_is_made_again(store: Store, place: Place, created: str) -> None:
    live = resolve(store, place.alias)
    store.set_metadata(live, dataclasses.replace(store.metadata(live), created=created))
    done = run(store, place, NEW, older_than=3600)
    assert done.state == "swapped"
    assert live in done.warnings[0]
    assert created in done.warnings[0]
    assert run(store, place, NEW, older_than=3600).state == "recent", "its own time is the true one"


def test_clocks_of_two_machines_may_differ(store: Store, place: Place) -> None:
    live = resolve(store, place.alias)
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=120)
    store.set_metadata(live, dataclasses.replace(store.metadata(live), created=soon.isoformat()))
    done = run(store, place, NEW, older_than=3600)
    assert (done.state, done.warnings) == ("recent", [])


def test_a_name_in_the_future_is_no_age(store: Store, place: Place) -> None:
    """A name sorts after the newest, which a machine with a wrong clock may have made; the recorded time is true."""
    live = resolve(store, place.alias)
    late = f"{place.alias}-29990101t000000z-00000000"
    store.create_collection(late, store.metadata(live))
    store.move_alias(f"{place.alias}-stable", late)
    made = run(store, place, NEW, keep=0).collection
    assert naming.time_of(made) > naming.time_of(late)
    assert run(store, place, NEW, older_than=3600).state == "recent"


def test_back_and_forth(store: Store, place: Place, root: Path) -> None:
    first = resolve(store, place.alias)
    second, third = (run(store, place, encoder).collection for encoder in (NEW, WIDE))
    done = rollback(store, place.alias, place.settings)
    assert done.to_json() == {
        "alias": place.alias,
        "collection": second,
        "left": third,
        "model": NEW.fingerprint,
        "points": PICTURES,
        "created": store.metadata(second).created,
        "carried": 0,
        "missing": {},
        "next": [],
    }
    assert place.answers(store, root, [NEW]).state == "ready"
    assert store.metadata(third).state == "rolled-back"
    assert rollback(store, place.alias, place.settings).collection == first
    with raises(StoreError, place.alias, first, hint="retrieval reindex --model MODEL"):
        rollback(store, place.alias, place.settings)
    fourth = run(store, place, WIDE).collection  # drops those that were rolled back
    assert place.mine(store) == [first, fourth]
    assert rollback(store, place.alias, place.settings).collection == first


def test_prune_takes_what_nothing_points_at_and_nothing_else(store: Store, place: Place) -> None:
    old = resolve(store, place.alias)
    live = run(store, place, NEW).collection
    store.move_alias(f"{place.alias}-stable", old)
    middle = run(store, place, OLD).collection
    foreign = f"{place.alias}-20000101t000000z-00000000"
    store.create_collection(foreign, dataclasses.replace(store.metadata(old), state="refused"))
    assert set(drop_unused(store)) >= {live, foreign}
    assert place.mine(store) == [old, middle]
    assert resolve(store, f"{place.alias}-stable") == old


@pytest.mark.parametrize("hours", [1, 24 * 365])
def test_a_clock_that_was_set_back(store: Store, place: Place, hours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    first = resolve(store, place.alias)

    class Earlier(dt.datetime):
        @classmethod
        def now(cls, tz: dt.tzinfo | None = None) -> "Earlier":
            return cls.fromtimestamp(dt.datetime.now(tz).timestamp() - 3600 * hours, tz)

    earlier = SimpleNamespace(datetime=Earlier, UTC=dt.UTC, timedelta=dt.timedelta)
    monkeypatch.setattr("retrieval.store.naming.dt", earlier)
    second, third = (run(store, place, encoder).collection for encoder in (NEW, OLD))
    assert first < second < third
    assert naming.list_family(store, place.alias) == [first, second, third]
    assert rollback(store, place.alias, place.settings).collection == second


def test_sources_that_are_not_as_they_were(store: Store, place: Place, root: Path) -> None:
    live = resolve(store, place.alias)
    away = root.rename(root.with_name("away"))
    with raises(SourceError, root, "no such file or folder", hint="retrieval forget"):
        run(store, place, NEW)
    root.mkdir()
    with raises(SourceError, root, "no files", hint="retrieval forget"):
        run(store, place, NEW)
    root.rmdir()
    away.rename(root)
    single = File("one", next(root.rglob("*.png")))
    ingest(store, OLD, [single], place.alias, ledgers=place.settings.refused)
    with raises(SourceError, "one", single.spec, live, hint="retrieval ingest FOLDER --name one"):
        run(store, place, NEW)
    assert place.mine(store) == [live]
    assert store.count(live) == PICTURES + 1


def test_an_alias_that_is_not_there(store: Store, place: Place) -> None:
    for job in (
        lambda: reindex(store, "test-none", lambda s: NEW, place.settings),
        lambda: rollback(store, "test-none", place.settings),
    ):
        with raises(NoCollection, "'test-none'", hint="retrieval ingest SOURCE --alias test-none"):
            job()


def test_two_at_once(place: Place, root: Path) -> None:
    with place.opened() as store, store.lock(place.alias):
        live = resolve(store, place.alias)
        with raises(Locked, f"pid {os.getpid()}", hint=""), place.opened() as other:
            run(other, place, NEW)
        if place.url is None:  # anything else would wait for the lock of the same folder
            return
        with raises(Locked, place.alias, "written", f"pid {os.getpid()}", hint=""):
            place.ingest(root, OLD)
        with raises(Locked, place.alias, "written", f"pid {os.getpid()}", hint=""), place.opened() as other:
            rollback(other, place.alias, place.settings)
        assert resolve(store, place.alias) == live


def test_not_enough_disk_for_two_copies(own_home: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(own_home, None, "images")
    live = place.ingest(root, OLD)
    full = shutil.disk_usage(own_home)._replace(free=RESERVE_BYTES + 1000)
    with place.opened() as store:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
        with raises(StoreError, live, "0 MiB", hint="retrieval collections --prune"):
            run(store, place, NEW)
        assert place.mine(store) == [live]


def test_an_alias_that_does_not_answer_goes_back(
    store: Store, place: Place, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = resolve(store, place.alias)

    with monkeypatch.context() as patch:

        def step(name: str, outcome: ReindexOutcome) -> None:
            if name == "read back":
                patch.setattr(type(store), "query", lambda *arguments: [[]])

        with raises(StoreError, place.alias, f"back to {old}"):
            reindex(store, place.alias, lambda sources: NEW, place.settings, step=step)
    assert resolve(store, place.alias) == old
    place.answers(store, root, [OLD])
