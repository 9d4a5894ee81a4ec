"""Images that can no longer be decoded: their points are kept, marked stale, until they are good again or pruned."""

import json
import os
from pathlib import Path

import pytest

from retrieval.config import Settings
from retrieval.errors import UsageError
from retrieval.ingest.stale_points import clear_stale
from retrieval.sources import Entry
from retrieval.store import open_store
from retrieval.store.base import Store, resolve
from tests.cli.conftest import Call, Done
from tests.errors import raises
from tests.ingest.conftest import ALIAS, Quadrants, Run, by_path
from tests.ingest.jobs import Place, make_digits

KEY = "a/00.png"


def stale(store: Store) -> set[str]:
    return {key for key, point in by_path(store).items() if "stale" in point.payload}


def ledger(tmp_path: Path) -> list[dict[str, object]]:
    return [json.loads(row) for file in (tmp_path / "refused").glob("*.jsonl") for row in file.read_text().splitlines()]


def test_marked_while_it_is_none(run: Run, root: Path, store: Store, encoder: Quadrants, tmp_path: Path) -> None:
    run(metadata={("root", KEY): {"caption": "a cat"}})
    before, good = by_path(store)[KEY], (root / KEY).read_bytes()
    (root / KEY).write_bytes(b"no picture any more")
    for again in (False, True):
        summary = run()
        (refused,) = summary.refused
        assert (refused.again, refused.to_json()["stale"]) == (again, True)
        assert (summary.failed, summary.stale, summary.unchanged, summary.deleted) == (1, 1, 29, 0)
        assert type(refused.entry) is Entry, "a summary keeps no payload"
        assert stale(store) == {KEY}
        assert by_path(store)[KEY].payload == {**before.payload, "stale": True}
        assert [row["stale"] for row in ledger(tmp_path)] == [True]
    assert [type(item.entry) for item in run(dry_run=True).refused] == [Entry]
    (root / KEY).write_bytes(good)
    summary = run()
    assert (summary.failed, summary.stale, summary.unchanged, encoder.encoded) == (0, 0, 30, 30)
    after = by_path(store)[KEY].payload
    assert (after["caption"], after["sha256"], "stale" in after) == ("a cat", before.payload["sha256"], False)
    assert ledger(tmp_path) == []


def test_restored_with_its_old_time(run: Run, root: Path, store: Store, encoder: Quadrants, tmp_path: Path) -> None:
    run()
    good, status = (root / KEY).read_bytes(), (root / KEY).stat()
    (root / KEY).write_bytes(b"no picture any more")
    assert run().stale == 1
    (root / KEY).write_bytes(good)
    os.utime(root / KEY, ns=(status.st_atime_ns, status.st_mtime_ns))
    summary = run()
    assert (summary.failed, summary.unchanged, summary.changed, encoder.encoded) == (0, 30, 0, 30)
    assert (stale(store), ledger(tmp_path)) == (set(), [])


def test_spoiled_with_its_old_size_and_time(run: Run, root: Path, store: Store) -> None:
    """Noticed only when every image is opened; it is then still refused, not restored."""
    run()
    good, status = (root / KEY).read_bytes(), (root / KEY).stat()
    (root / KEY).write_bytes(bytes(len(good)))
    os.utime(root / KEY, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert run(force=True).stale == 1
    assert run().stale == 1
    assert stale(store) == {KEY}


def test_a_passing_reason_changes_nothing(run: Run, root: Path, store: Store) -> None:
    run()
    before = by_path(store)[KEY].payload
    (root / KEY).unlink()
    (root / KEY).symlink_to("nowhere.png")
    summary = run(prune=True)
    assert (summary.failed, summary.kept, summary.stale, summary.deleted) == (1, 1, 0, 0)
    assert by_path(store)[KEY].payload == before


def test_a_prune_removes_them_but_not_many(run: Run, root: Path, store: Store) -> None:
    run()
    bad = [f"a/{number:02d}.png" for number in (0, 3, 6, 9)]
    for key in bad:
        (root / key).write_bytes(b"no picture any more")
    with raises(UsageError, 4, 30, "root", "10%", option="max_delete", hint="--yes"):
        run(prune=True)
    assert stale(store) == set(bad)
    summary = run(prune=True, dry_run=True, yes=True)
    assert (summary.deleted, len(by_path(store))) == (4, 30)
    summary = run(prune=True, yes=True)
    assert (summary.deleted, summary.failed, summary.kept, summary.stale) == (4, 4, 0, 0)
    assert len(by_path(store)) == summary.found - summary.failed == 26
    assert run(prune=True).deleted == 0


def test_a_ledger_from_before_there_was_a_mark(run: Run, root: Path, store: Store, tmp_path: Path) -> None:
    run()
    (root / KEY).write_bytes(b"no picture any more")
    run()
    (file,) = (tmp_path / "refused").glob("*.jsonl")
    file.write_text(file.read_text().replace(', "stale": true', ""))
    point = by_path(store)[KEY]
    store.set_payload(resolve(store, ALIAS), {point.id: clear_stale(point.payload)})
    assert run().stale == 1
    assert stale(store) == {KEY}
    assert [row["stale"] for row in ledger(tmp_path)] == [True]


@pytest.fixture
def ours(place: Place, call: Call) -> Call:
    """A command in this process, in the test's place."""
    return lambda command, *arguments: call(command, *arguments, *place.options())


def counts(done: Done) -> tuple[int, ...]:
    return tuple(done.object[name] for name in ("found", "failed", "stale", "deleted"))


def test_all_say_the_same_on_both_engines(place: Place, ours: Call, tmp_path: Path) -> None:
    folder = make_digits(tmp_path / "digits", 20)
    first, second = sorted(folder.glob("*/*.png"))[:2]
    good = first.read_bytes()
    assert ours("ingest", folder).code == 0
    first.write_bytes(b"no picture any more")
    done = ours("ingest", folder, "--json")
    assert (done.code, counts(done)) == (3, (20, 1, 1, 0))
    status = ours("status", "--json").object
    assert (status["points"], status["stale"]) == (20, 1)
    (hits,) = (line["hits"] for line in ours("search", second, "-k", 20, "--where", "stale=true", "--json").objects)
    assert [(hit["path"], hit["stale"]) for hit in hits] == [(first.relative_to(folder).as_posix(), True)]
    assert " (stale)" in ours("search", second, "--where", "stale=true").out
    assert ours("search", second, "--where", "stale!=true", "-k", 20, "--json").out.count('"distance"') == 18
    assert "1 refused image still stored as before" in ours("ingest", folder).out
    done = ours("ingest", folder, "--prune", "--json")
    assert (done.code, counts(done), place.stored) == (3, (20, 1, 0, 1), 19)
    assert ours("status", "--json").object["stale"] == 0
    first.write_bytes(good)
    done = ours("ingest", folder, "--json")
    assert (done.code, counts(done), place.stored) == (0, (20, 0, 0, 0), 20)


@pytest.mark.parametrize("place", ["embedded"], indirect=True)
def test_a_reindex_goes_on_past_them(place: Place, ours: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is no longer an image, one cannot be read now; the candidate of an earlier run holds both."""
    monkeypatch.setattr(os, "nice", lambda by: by)
    folder = make_digits(tmp_path / "digits", 30)
    spoiled, away = sorted(folder.glob("*/*.png"))[:2]
    assert ours("ingest", folder).code == 0
    loose = ("--max-drop", "100%", "--json")
    assert ours("reindex", "--dry-run", *loose).object["outcome"] == "checked"
    spoiled.write_bytes(b"no picture any more")
    away.unlink()
    away.symlink_to("nowhere.png")
    done = ours("reindex", *loose)
    assert (done.code, done.object["outcome"]) == (3, "swapped"), done.err
    assert (done.object["failed"], done.object["deleted"]) == (2, 1)
    assert place.stored == 29
    with open_store(Settings(home=place.home)) as store:
        assert [p for page in store.scroll(resolve(store, place.alias)) for p in page if "stale" in p.payload] == []


@pytest.mark.parametrize("place", ["embedded"], indirect=True)
def test_bytes_and_text_that_looks_like_them_are_two_images(place: Place, ours: Call, tmp_path: Path) -> None:
    folder = make_digits(tmp_path / "digits", 3)
    one, two, three = sorted(folder.glob("*/*.png"))
    one.rename(os.fsdecode(os.fsencode(folder) + b"/\xe9.png"))
    two.rename(folder / "\\xe9.png")
    three.rename(folder / "\\x5cxe9.png")
    for unchanged in (0, 3):
        done = ours("ingest", folder, "--prune", "--json")
        assert (done.object["found"], done.object["unchanged"], place.stored) == (3, unchanged, 3)
    keys = {point.payload["path"] for point in place.points().values()}
    assert keys == {"\\xe9.png", "\\x5cxe9.png", "\\x5cx5cxe9.png"}
