"""A listing that ends early looks like deletions: no point goes unless its source says that the image is gone."""

import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.config import Settings
from retrieval.errors import SourceError
from retrieval.images.decode import encode_png
from retrieval.ingest.job import ingest
from retrieval.ingest.options import Options
from retrieval.ingest.summary import Summary
from retrieval.sources import Source, open_source
from retrieval.store.base import Store, resolve
from tests.ingest.conftest import SIDE, Quadrants
from tests.store.conftest import name, open_engine, store  # noqa: F401 - fixtures, of both engines

FOLDERS = {"a": 30, "b": 25, "c": 5}
Go = Callable[..., Summary]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Sixty pictures, five of them in the folder that is listed last: less than --max-delete."""
    rng = np.random.default_rng(0)
    for folder, count in FOLDERS.items():
        (tmp_path / "trip" / folder).mkdir(parents=True)
        for number in range(count):
            picture = encode_png(rng.integers(0, 256, (SIDE, SIDE, 1), np.uint8))
            (tmp_path / "trip" / folder / f"{number:02d}.png").write_bytes(picture)
    return tmp_path / "trip"


@pytest.fixture
def go(store: Store, name: str, encoder: Quadrants, tmp_path: Path) -> Go:  # noqa: F811
    """Ingest a source, with options."""

    def run(source: Source | Path, **options: Any) -> Summary:
        opened = open_source(str(source), Settings(home=tmp_path)) if isinstance(source, Path) else source
        return ingest(store, encoder, [opened], name, Options(**options), ledgers=tmp_path / "refused")

    return run


@pytest.fixture
def stored(store: Store, name: str) -> Callable[[], set[str]]:  # noqa: F811
    """Keys of the images that the alias's collection holds."""
    return lambda: {p.payload["path"] for page in store.scroll(resolve(store, name)) for p in page}


def at_the_listing_of(folder: str, do: Callable[[], object], patch: pytest.MonkeyPatch) -> None:
    """Do it once, when that folder is about to be listed."""
    listed, waiting = os.scandir, [do]

    def scandir(path: Any) -> Any:
        if os.fspath(path).endswith(folder) and waiting:
            waiting.pop()()
        return listed(path)

    patch.setattr(os, "scandir", scandir)


def packed(folder: Path, file: Path, mode: str = "w") -> Path:
    """The folder's pictures as a tar."""
    with tarfile.open(file, mode) as tar:  # type: ignore[call-overload]
        for picture in sorted(folder.rglob("*.png")):
            tar.add(picture, picture.relative_to(folder).as_posix())
    return file


def without_its_last(members: int, file: Path) -> None:
    """Cut a tar where a member begins, as a copy that broke off may be."""
    with tarfile.open(file) as tar:
        at = tar.getmembers()[-members].offset
    os.truncate(file, at)


@pytest.mark.parametrize("back", [False, True])
def test_a_root_that_goes_away_while_it_is_listed(
    go: Go, stored: Callable[[], set[str]], pictures: Path, monkeypatch: pytest.MonkeyPatch, back: bool
) -> None:
    """Unmounted or renamed; in its place there may be another, empty one."""
    assert go(pictures).encoded == 60

    def away() -> None:
        pictures.rename(pictures.with_name("elsewhere"))
        if back:
            (pictures / "c").mkdir(parents=True)

    at_the_listing_of("/c", away, monkeypatch)
    with pytest.raises(SourceError, match=r"trip is not what it was when its listing began"):
        go(pictures, prune=True)
    assert len(stored()) == 60


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_a_tar_that_was_cut_where_a_member_begins(
    go: Go, stored: Callable[[], set[str]], pictures: Path, tmp_path: Path, suffix: str
) -> None:
    import gzip

    plain = packed(pictures, tmp_path / "whole.tar")
    file = tmp_path / f"trip.{suffix}"

    def put() -> None:
        file.write_bytes(gzip.compress(plain.read_bytes()) if suffix == "tar.gz" else plain.read_bytes())

    put()
    assert go(file).encoded == 60
    without_its_last(4, plain)
    put()
    summary = go(file, prune=True, yes=True)
    assert len(stored()) == 60
    assert (summary.found, summary.deleted, summary.unasked) == (56, 0, 4)
    assert "has no end" in summary.unasked_why
