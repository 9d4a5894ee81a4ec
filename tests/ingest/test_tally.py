"""A repeated listing by Ray that skipped an image is detected from the tallies of the pages."""

from pathlib import Path

import pytest

from retrieval.config import Settings
from retrieval.errors import RetrievalError
from retrieval.ingest.ray.driver import check_all_done
from retrieval.ingest.ray.worker import Rows, SourceSpec, Tally
from tests.errors import raises
from tests.sources.conftest import put


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """1,500 files in three folders."""
    return put(tmp_path / "trip", *(f"{number % 3}/{number:04d}.png" for number in range(1500)))


def pages(root: Path) -> list[tuple[Rows, Tally]]:
    return list(SourceSpec("trip", str(root), labels=False).list_pages(Settings(home=root.parent)))


def worked(*pages: Rows) -> Tally:
    """The tallies that the workers report."""
    total = Tally()
    for page in pages:
        total = total.plus(Tally().add_images("trip", [row[0] for row in page]))
    return total


def test_the_same_images_make_the_same_pages(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = pages(root)
    monkeypatch.setattr("retrieval.ingest.plan.PAGE_SECONDS", 0.0)
    ticks = iter(range(10**6))
    monkeypatch.setattr("retrieval.ingest.plan.time.monotonic", lambda: float(next(ticks)))
    assert pages(root) == first
    assert [len(page) for page, _ in first] == [1000, 500]
    check_all_done({"trip": first[-1][1]}, {"trip": worked(*(page for page, _ in first))})


def test_an_image_that_was_passed_over(root: Path) -> None:
    """One is removed and one added: the second listing's second page begins one image later, and the counts agree."""
    (first, _), _ = pages(root)
    (root / "0" / "0000.png").unlink()
    put(root, "2/9999.png")
    (_, _), (rest, listed) = pages(root)
    done = worked(first, rest)
    assert done.images == listed.images == 1500
    with raises(RetrievalError, "trip", 1500, hint=""):
        check_all_done({"trip": listed}, {"trip": done})


def test_a_listing_without_its_end(root: Path) -> None:
    (first, _), _ = pages(root)
    with raises(RetrievalError, "trip", "end", 1000, hint=""):
        check_all_done({}, {"trip": worked(first)})
