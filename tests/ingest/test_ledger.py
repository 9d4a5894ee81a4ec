"""Refused images are recorded, not opened again until they change, and removed from the record once they are good."""

import contextlib
import json
from pathlib import Path

import pytest

from retrieval.errors import Locked, RetrievalError
from retrieval.ingest.job import ingest
from retrieval.ingest.ledger import Ledger
from retrieval.sources import Entry
from retrieval.sources.folder import Folder
from retrieval.sources.read import Refused
from retrieval.store.base import Store
from tests.errors import raises
from tests.ingest.conftest import ALIAS, Quadrants, Run, by_path


def rows(tmp_path: Path) -> list[dict[str, object]]:
    return [
        json.loads(line) for file in (tmp_path / "refused").glob("*.jsonl") for line in file.read_text().splitlines()
    ]


def test_a_bad_image_is_opened_once(run: Run, root: Path, tmp_path: Path, store: Store) -> None:
    good = (root / "a" / "00.png").read_bytes()
    (root / "a" / "00.png").write_bytes(good[:40])
    first = run()
    assert (first.encoded, first.failed, first.newly_refused) == (29, 1, 1)
    (row,) = rows(tmp_path)
    assert (row["source"], row["path"], row["lasting"]) == ("root", "a/00.png", True)
    assert row["time"]
    second = run()
    assert second.refused[0].reason == first.refused[0].reason == row["reason"]
    assert (second.failed, second.newly_refused, second.refused[0].again) == (1, 0, True)
    assert rows(tmp_path) == [row]
    third = run(retry_failed=True)
    assert (third.failed, third.newly_refused) == (1, 1)
    (root / "a" / "00.png").write_bytes(good)
    assert run().encoded == 1
    assert rows(tmp_path) == []
    assert len(by_path(store)) == 30


def test_an_image_that_could_not_be_read_is_tried_again(run: Run, root: Path, tmp_path: Path) -> None:
    away = root.with_name("away.png")
    (root / "a" / "00.png").rename(away)
    (root / "a" / "00.png").symlink_to(root / "a" / "nothing.png")
    assert run().newly_refused == 1
    assert rows(tmp_path)[0]["lasting"] is False
    assert (again := run()).newly_refused == 0, "no news"
    assert (again.failed, again.refused[0].again) == (1, True)
    away.rename(root / "a" / "nothing.png")
    assert run().failed == 0
    assert rows(tmp_path) == []


@pytest.mark.parametrize("changed", [True, False])
def test_a_job_that_lost_its_lock_leaves_the_record_to_the_one_that_has_it(
    changed: bool, run: Run, root: Path, tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have been stopped for hours, and knows nothing of the other's rows."""
    run()
    if changed:
        (root / "a" / "00.png").write_bytes(max(root.rglob("*.png")).read_bytes())
    row = Refused(Entry("root", "other.png", 5, 7, None, bytes), "bad", lasting=True)

    class Lost:
        holder = ""

        def check(self) -> None:
            if not rows(tmp_path):
                Ledger(tmp_path / "refused", store.location, ALIAS).add([row])
            raise Locked("another job has it")

    monkeypatch.setattr(type(store), "lock", lambda self, alias: contextlib.nullcontext(Lost()))
    with raises(Locked, "another job"):
        run()
    assert [each["path"] for each in rows(tmp_path)] == ["other.png"]


def test_each_engine_has_rows_of_its_own_and_a_damaged_line_costs_only_itself(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "refused"
    entries = [Entry("root", f"{name}.png", 5, 7, None, bytes) for name in "aäc"]
    ledger = Ledger(folder, "here", "images")
    rows = ledger.add([Refused(entry, f"bad {entry.key}", lasting=True) for entry in entries])
    assert [(row["path"], row["reason"]) for row in rows] == [(e.key, f"bad {e.key}") for e in entries]
    lines = ledger.path.read_text("utf-8").splitlines()
    ledger.path.write_text("\n".join([lines[0], lines[1][:20], "7", lines[2]]), "utf-8")
    again = Ledger(folder, "here", "images")
    assert [again.find_reason(entry) for entry in entries] == ["bad a.png", None, "bad c.png"]
    assert Ledger(folder, "elsewhere", "images").find_reason(entries[0]) is None


def test_rows_of_images_that_are_gone_go(run: Run, root: Path, tmp_path: Path) -> None:
    (root / "a" / "00.png").write_bytes(b"bad")
    run()
    (root / "a" / "00.png").unlink()
    run()
    assert rows(tmp_path) == []


def test_other_sources_keep_their_rows(run: Run, root: Path, tmp_path: Path, store: Store, encoder: Quadrants) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x.png").write_bytes(b"bad")
    ingest(store, encoder, [Folder("other", tmp_path / "other")], ALIAS, ledgers=tmp_path / "refused")
    run()
    assert [row["source"] for row in rows(tmp_path)] == ["other"]


def test_too_many_stop_the_run(run: Run, root: Path, tmp_path: Path, store: Store) -> None:
    for file in sorted(root.rglob("*.png"))[:5]:
        file.write_bytes(b"bad")
    with raises(RetrievalError, "5 images", 4, "root/a/00.png", option="max_failures", hint=""):
        run(max_failures=4)
    assert len(rows(tmp_path)) == 5
    assert len(by_path(store)) == 25  # batches in flight are stored
    assert run(max_failures=4).failed == 5  # refused before, so not newly


def test_a_retry_that_is_stopped_forgets_no_image(run: Run, root: Path, tmp_path: Path) -> None:
    for file in sorted(root.rglob("*.png"))[:5]:
        file.write_bytes(b"bad")
    run()
    with raises(RetrievalError, "2 images", 1, option="max_failures", hint=""):
        run(retry_failed=True, max_failures=1, batch=1)
    assert len(rows(tmp_path)) == 5


def test_half_a_line_of_a_killed_run_does_not_matter(run: Run, root: Path, tmp_path: Path) -> None:
    (root / "a" / "00.png").write_bytes(b"bad")
    run()
    (file,) = (tmp_path / "refused").glob("*.jsonl")
    file.write_text(file.read_text() + '{"source": "ro')
    assert run().newly_refused == 0
    assert len(rows(tmp_path)) == 1
