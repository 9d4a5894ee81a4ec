"""A listing that ends early looks like deletions: a point goes only if its source confirms that its image is gone."""

# ruff: noqa: F811 - fixtures are asked for by the names under which they were imported

import contextlib
import gzip
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.config import Settings
from retrieval.errors import Locked, SourceError
from retrieval.images.decode import encode_png
from retrieval.ingest.context import Listing, Target
from retrieval.ingest.job import ingest
from retrieval.ingest.options import IngestOptions
from retrieval.ingest.pipeline import fill
from retrieval.ingest.summary import IngestSummary
from retrieval.reindex.job import reindex
from retrieval.sources import Source, open_source
from retrieval.sources.folder import Folder
from retrieval.store import open_store
from retrieval.store.base import Store, resolve
from tests.errors import mentions, raises
from tests.ingest.conftest import SIDE, Quadrants
from tests.store.conftest import name, open_engine, store  # noqa: F401 - fixtures, of both engines

FOLDERS = {"a": 30, "b": 25, "c": 5}
Go = Callable[..., IngestSummary]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Sixty images, five of them in the folder that is listed last: less than --max-delete."""
    rng = np.random.default_rng(0)
    for folder, count in FOLDERS.items():
        (tmp_path / "trip" / folder).mkdir(parents=True)
        for number in range(count):
            picture = encode_png(rng.integers(0, 256, (SIDE, SIDE, 1), np.uint8))
            (tmp_path / "trip" / folder / f"{number:02d}.png").write_bytes(picture)
    return tmp_path / "trip"


@pytest.fixture
def go(store: Store, name: str, encoder: Quadrants, tmp_path: Path) -> Go:
    """Ingest a source, with options."""

    def run(source: Source | Path, **options: Any) -> IngestSummary:
        opened = open_source(str(source), Settings(home=tmp_path)) if isinstance(source, Path) else source
        return ingest(store, encoder, [opened], name, IngestOptions(**options), ledgers=tmp_path / "refused")

    return run


@pytest.fixture
def stored(store: Store, name: str) -> Callable[[], set[str]]:
    """Keys of the images that the alias's collection holds."""
    return lambda: {p.payload["path"] for page in store.scroll(resolve(store, name)) for p in page}


def at_the_listing_of(folder: str, do: Callable[[], object], patch: pytest.MonkeyPatch) -> None:
    """Do it once, when that folder is about to be listed."""
    listed, waiting = os.scandir, [do]

    def scandir(path: Any) -> Any:
        if not isinstance(path, int) and os.fspath(path).endswith(folder) and waiting:
            waiting.pop()()
        return listed(path)

    patch.setattr(os, "scandir", scandir)


def packed(folder: Path, file: Path, mode: str = "w") -> Path:
    """The folder's images as a tar."""
    with tarfile.open(file, mode) as tar:  # type: ignore[call-overload]
        for picture in sorted(folder.rglob("*.png")):
            tar.add(picture, picture.relative_to(folder).as_posix())
    return file


def without_its_last(members: int, file: Path) -> None:
    """Cut a tar where a member begins, like an interrupted copy."""
    with tarfile.open(file) as tar:
        at = tar.getmembers()[-members].offset
    os.truncate(file, at)


@pytest.mark.parametrize("back", [False, True])
def test_a_root_that_goes_away_while_it_is_listed(
    go: Go, stored: Callable[[], set[str]], pictures: Path, monkeypatch: pytest.MonkeyPatch, back: bool
) -> None:
    """Unmounted or renamed; an empty folder may be in its place."""
    assert go(pictures).encoded == 60

    def away() -> None:
        pictures.rename(pictures.with_name("elsewhere"))
        if back:
            (pictures / "c").mkdir(parents=True)

    at_the_listing_of("/c", away, monkeypatch)
    with raises(SourceError, pictures):
        go(pictures, prune=True)
    assert len(stored()) == 60


@pytest.mark.parametrize("suffix", ["tar", "tar.gz"])
def test_a_tar_that_was_cut_where_a_member_begins(
    go: Go, stored: Callable[[], set[str]], pictures: Path, tmp_path: Path, suffix: str
) -> None:
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
    assert mentions(summary.unasked_why, file)


def test_what_is_asked_for_right_before_it_is_deleted(
    store: Store,
    go: Go,
    stored: Callable[[], set[str]],
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An image that is back after the limit was checked is kept."""
    go(pictures)
    away = pictures.with_name("away.png")
    for file in ("c/00.png", "c/01.png"):
        (pictures / file).rename(away.with_name(file[-6:]))

    def counted(self: Store, *arguments: Any) -> int:
        if away.with_name("00.png").exists():
            away.with_name("00.png").rename(pictures / "c" / "00.png")
        return before(self, *arguments)

    opened = type(store)
    before = opened.count
    monkeypatch.setattr(opened, "count", counted)
    summary = go(pictures, prune=True)
    assert (summary.deleted, summary.gone, len(stored())) == (1, ["trip/c/01.png"], 59)


def test_the_lock_is_looked_at_before_each_request(
    store: Store,
    go: Go,
    stored: Callable[[], set[str]],
    pictures: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go(pictures)
    for file in (pictures / "c").glob("*"):
        file.unlink()
    done: list[str] = []

    @contextlib.contextmanager
    def lock(self: Store, alias: str) -> Iterator[Any]:
        class Held:
            holder = ""

            def check(self) -> None:
                if done:
                    raise Locked("taken over")

        yield Held()

    def delete(self: Store, collection: str, ids: list[str]) -> None:
        done.extend(ids)
        before(self, collection, ids)

    opened = type(store)
    before = opened.delete
    monkeypatch.setattr(opened, "delete", delete)
    monkeypatch.setattr(opened, "lock", lock)
    monkeypatch.setattr("retrieval.ingest.prune.DELETE", 2)
    with pytest.raises(Locked):
        go(pictures, prune=True)
    assert len(done) == 2
    assert len(stored()) == 58


def test_a_reindex_loses_none_either(tmp_path: Path, pictures: Path, own_home: Path) -> None:
    """The new collection would lack the tar's lost images, and the gate allows that, since they are under a tenth."""
    settings, old, new = Settings(home=own_home), Quadrants(), Quadrants()
    file = packed(pictures, tmp_path / "trip.tar")
    with open_store(settings) as edge:
        ingest(edge, old, [open_source(str(file), settings)], "images", ledgers=settings.refused)
        live = resolve(edge, "images")
        without_its_last(4, file)
        with raises(SourceError, "4 images", "trip", live):
            reindex(edge, "images", lambda sources: new, settings)
        assert resolve(edge, "images") == live


def test_what_a_listing_left_out_and_is_there_is_in_a_new_collection(
    tmp_path: Path, pictures: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(home=own_home)
    with open_store(settings) as edge:
        source = open_source(str(pictures), settings)
        ingest(edge, Quadrants(), [source], "images", ledgers=settings.refused)
        live = resolve(edge, "images")
        listed = Folder.entries
        monkeypatch.setattr(Folder, "entries", lambda self: (e for e in listed(self) if not e.key.startswith("c/")))
        edge.create_collection("other", edge.metadata(live))
        with edge.lock("images") as held:
            target = Target(edge, held, "images", "other", Quadrants(), settings.refused)
            options = IngestOptions(prune=True, yes=True, force=True)
            fill(target, [Listing(source, source.entries())], options, like=live)
        assert edge.count("other") == 60
