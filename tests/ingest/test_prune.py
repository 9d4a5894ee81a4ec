"""Points of images that are gone are removed on request, in this source only, and never many by mistake."""

import shutil
from pathlib import Path

import pytest

from retrieval.errors import SourceError, UsageError
from retrieval.ingest.job import ingest
from retrieval.ingest.options import IngestOptions
from retrieval.ingest.summary import IngestSummary
from retrieval.sources.folder import File, Folder
from retrieval.store.base import Store
from tests.errors import raises
from tests.ingest.conftest import ALIAS, Quadrants, Run, by_path


def test_only_when_asked(run: Run, root: Path, store: Store) -> None:
    run()
    (root / "a" / "00.png").unlink()
    assert run().deleted == 0
    assert len(by_path(store)) == 30
    summary = run(prune=True)
    assert (summary.deleted, summary.gone, summary.unchanged) == (1, ["root/a/00.png"], 29)
    assert "a/00.png" not in by_path(store)
    assert len(by_path(store)) == 29


def test_another_source_is_left_alone(run: Run, root: Path, store: Store, encoder: Quadrants, tmp_path: Path) -> None:
    run()
    other = shutil.copytree(root / "a", tmp_path / "other")
    ingest(store, encoder, [Folder("other", other)], ALIAS, ledgers=tmp_path / "refused")
    (root / "b" / "01.png").unlink()
    assert run(prune=True).deleted == 1
    assert sum(point.payload["source"] == "other" for point in by_path(store).values()) == 10


def test_more_than_the_limit_is_refused_unless_yes(run: Run, root: Path, store: Store) -> None:
    run()
    for number in (0, 3, 6, 9):  # 4 of 30 are over 10%
        (root / "a" / f"{number:02d}.png").unlink()
    with raises(UsageError, 4, 30, "root", root, "10%", option="max_delete", hint="--yes"):
        run(prune=True)
    assert len(by_path(store)) == 30
    assert run(prune=True, max_delete=0.2).deleted == 4
    (root / "b" / "01.png").unlink()
    shutil.rmtree(root / "c")
    assert run(prune=True, yes=True).deleted == 11
    assert len(by_path(store)) == 15


def test_the_limit_holds_for_each_source_and_the_counts_for_all(
    run: Run, root: Path, store: Store, encoder: Quadrants, tmp_path: Path
) -> None:
    """Two of ten are too many, but not two of forty; one of ten and one of thirty are two deletions."""
    sources = [Folder("other", Path(shutil.copytree(root / "a", tmp_path / "other"))), Folder("root", root)]

    def prune() -> IngestSummary:
        return ingest(store, encoder, sources, ALIAS, IngestOptions(prune=True), ledgers=tmp_path / "refused")

    assert prune().deleted == 0
    for gone in ("00.png", "03.png"):
        (tmp_path / "other" / gone).unlink()
    with raises(UsageError, 2, 10, "other", option="max_delete", hint="--yes"):
        prune()
    shutil.copy(root / "a" / "00.png", tmp_path / "other" / "00.png")
    (root / "a" / "00.png").unlink()
    summary = prune()
    assert (summary.deleted, summary.gone) == (2, ["other/03.png", "root/a/00.png"])
    assert len(by_path(store)) == 38


@pytest.mark.parametrize("missing", [True, False])
def test_a_root_that_is_missing_or_empty_deletes_nothing(run: Run, root: Path, store: Store, missing: bool) -> None:
    run()
    root.rename(root.with_name("elsewhere"))
    if not missing:
        root.mkdir()
    with pytest.raises(SourceError):
        run(prune=True, yes=True)
    assert len(by_path(store)) == 30


def test_an_image_that_cannot_be_read_now_is_not_gone(run: Run, root: Path, store: Store) -> None:
    run()
    (root / "a" / "00.png").unlink()
    (root / "a" / "00.png").symlink_to("nowhere.png")
    summary = run(prune=True)
    assert (summary.failed, summary.kept, summary.stale, summary.deleted) == (1, 1, 0, 0)
    assert "stale" not in by_path(store)["a/00.png"].payload


def test_a_single_file_says_nothing_of_the_others(store: Store, encoder: Quadrants, root: Path, tmp_path: Path) -> None:
    source = File("root", root / "a" / "00.png")
    with raises(UsageError, source.spec, option="prune", hint=""):
        ingest(store, encoder, [source], ALIAS, IngestOptions(prune=True), ledgers=tmp_path)
