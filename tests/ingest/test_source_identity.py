"""One name, one root: two folders of one name are distinguished, and a moved folder is recognised."""

# ruff: noqa: F811 - fixtures are asked for by the names under which they were imported

import dataclasses
import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.config import Settings
from retrieval.errors import UsageError
from retrieval.images.decode import encode_png
from retrieval.ingest.job import ingest
from retrieval.ingest.options import IngestOptions
from retrieval.ingest.summary import IngestSummary
from retrieval.reindex.preflight import open_recorded_sources
from retrieval.schema.records import CollectionMeta, Root
from retrieval.sources import open_source
from retrieval.sources.presence import file_identity
from retrieval.store.base import Store, resolve
from tests.errors import raises
from tests.ingest.conftest import SIDE, Quadrants
from tests.store.conftest import name, open_engine, store  # noqa: F401 - fixtures, of both engines

Go = Callable[..., IngestSummary]
COUNT = 10


def card(folder: Path, seed: int) -> Path:
    """A camera's memory card: names and sizes are the same on each."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number in range(COUNT):
        picture = encode_png(rng.integers(0, 256, (SIDE, SIDE, 1), np.uint8))
        (folder / f"IMG_{number:04d}.png").write_bytes(picture)
    return folder


@pytest.fixture
def go(store: Store, name: str, encoder: Quadrants, tmp_path: Path) -> Go:
    def run(path: Path | str, called: str | None = None, **options: Any) -> IngestSummary:
        source = open_source(str(path), Settings(home=tmp_path), name=called)
        return ingest(store, encoder, [source], name, IngestOptions(**options), ledgers=tmp_path / "refused")

    return run


@pytest.fixture
def meta(store: Store, name: str) -> Callable[[], CollectionMeta]:
    return lambda: store.metadata(resolve(store, name))


@pytest.fixture
def told(store: Store, name: str, meta: Callable[[], CollectionMeta]) -> Callable[..., None]:
    """Change what the collection records of its only source's root."""

    def tell(**fields: str) -> None:
        known = meta()
        roots = {each: dataclasses.replace(root, **fields) for each, root in known.roots.items()}
        store.set_metadata(resolve(store, name), dataclasses.replace(known, roots=roots))

    return tell


@pytest.mark.parametrize("prune", [False, True])
@pytest.mark.parametrize("dry_run", [False, True])
def test_two_folders_with_one_base_name(
    go: Go, meta: Callable[[], CollectionMeta], tmp_path: Path, prune: bool, dry_run: bool
) -> None:
    first, second = card(tmp_path / "2023" / "DCIM", 0), card(tmp_path / "2024" / "DCIM", 1)
    assert go(first).encoded == COUNT
    before = meta()
    host = socket.gethostname()
    with raises(UsageError, "DCIM", first, second, host, 0, 10, hint=f"retrieval ingest {second} --name NAME"):
        go(second, prune=prune, yes=True, dry_run=dry_run)
    assert meta() == before
    assert go(second, "DCIM-2024").encoded == COUNT
    assert (go(first, prune=True).unchanged, go(second, "DCIM-2024", prune=True).unchanged) == (COUNT, COUNT)
    assert meta().roots.keys() == {"DCIM", "DCIM-2024"}


def test_two_names_that_fall_together(go: Go, tmp_path: Path) -> None:
    go(card(tmp_path / "trip 1", 0))
    with raises(UsageError, "trip-1 is", tmp_path / "trip 1", tmp_path / "trip-1", hint="--name NAME"):
        go(card(tmp_path / "trip-1", 1))


@pytest.mark.parametrize("how", [Path.rename, shutil.copytree])
def test_a_folder_that_was_moved_is_known_again(
    go: Go, meta: Callable[[], CollectionMeta], tmp_path: Path, how: Callable[[Path, Path], Any]
) -> None:
    old, new = card(tmp_path / "a" / "DCIM", 0), tmp_path / "b" / "DCIM"
    go(old)
    new.parent.mkdir()
    how(old, new)
    for gone in range(4):
        (new / f"IMG_{gone:04d}.png").unlink()
    summary = go(new)
    assert (summary.found, summary.unchanged) == (6, 6)
    found = file_identity(new)
    assert found
    assert (meta().sources["DCIM"], meta().roots["DCIM"]) == (
        str(new),
        Root(str(new), socket.gethostname(), f"{found[0]}:{found[1]}"),
    )


def test_most_of_the_images_must_be_there(go: Go, tmp_path: Path) -> None:
    old, new = card(tmp_path / "a" / "DCIM", 0), tmp_path / "b" / "DCIM"
    go(old)
    shutil.copytree(old, new)
    for gone in range(5):
        (new / f"IMG_{gone:04d}.png").unlink()
    with raises(UsageError, "DCIM", 10, 5, 0, hint="--name NAME"):
        go(new)


def test_the_same_path_on_another_host(
    go: Go, meta: Callable[[], CollectionMeta], told: Callable[..., None], tmp_path: Path
) -> None:
    """Two hosts that share a server; or one pod after the other, each with a name of its own."""
    root = card(tmp_path / "DCIM", 0)
    go(root)
    told(host="elsewhere")
    assert go(root).unchanged == COUNT
    assert meta().roots["DCIM"].host == socket.gethostname()
    told(host="elsewhere")
    shutil.rmtree(root)
    for file in card(root, 1).iterdir():
        file.rename(file.with_name(f"other-{file.name}"))
    with raises(UsageError, "DCIM", root, "elsewhere", 10, 0, hint="--name NAME"):
        go(root)


def test_the_same_path_with_another_inode(go: Go, told: Callable[..., None], tmp_path: Path) -> None:
    """A disk that is mounted again, perhaps with fewer images, is told from the next card in the same reader."""
    root = card(tmp_path / "DCIM", 0)
    go(root)
    told(inode="1:2")
    for file in sorted(root.iterdir())[1:]:
        file.unlink()
    assert go(root).unchanged == 1
    told(inode="1:2")
    shutil.rmtree(root)
    card(root, 1)
    with raises(UsageError, "DCIM", root, 0, 10, hint="--name NAME"):
        go(root)
    told(inode="{}:{}".format(*(file_identity(root) or ())))
    assert go(root).encoded == COUNT, "in the same folder, images may change as they like"


def test_a_single_image_bears_its_folders_name(go: Go, meta: Callable[[], CollectionMeta], tmp_path: Path) -> None:
    first, second = card(tmp_path / "2023" / "DCIM", 0), card(tmp_path / "2024" / "DCIM", 1)
    assert go(first / "IMG_0001.png").encoded == 1
    with raises(UsageError, "DCIM", first, second, hint="--name NAME"):
        go(second / "IMG_0001.png")
    assert go(first).encoded == COUNT - 1
    with raises(UsageError, "DCIM", first, second, hint="--name NAME"):
        go(second / "IMG_0002.png")
    assert go(first / "IMG_0002.png").unchanged == 1
    assert meta().sources == {"DCIM": str(first)}


def test_an_older_collection_learns_where_its_sources_are(
    store: Store,
    name: str,
    go: Go,
    meta: Callable[[], CollectionMeta],
    tmp_path: Path,
) -> None:
    first, second = card(tmp_path / "2023" / "DCIM", 0), card(tmp_path / "2024" / "DCIM", 1)
    go(first)
    written = meta().to_json()
    del written["roots"]
    old = CollectionMeta.from_json("old", json.loads(json.dumps(written)))
    assert old.roots == {}
    store.set_metadata(resolve(store, name), old)
    with raises(UsageError, "DCIM", first, second, hint="--name NAME"):
        go(second)
    assert meta().roots == {}
    assert go(first).unchanged == COUNT
    assert meta().roots["DCIM"].host == socket.gethostname()


def test_a_source_without_points_may_be_anywhere(
    store: Store,
    name: str,
    go: Go,
    meta: Callable[[], CollectionMeta],
    tmp_path: Path,
) -> None:
    go(card(tmp_path / "2023" / "DCIM", 0))
    collection = resolve(store, name)
    store.delete(collection, [point.id for page in store.scroll(collection) for point in page])
    assert go(card(tmp_path / "2024" / "DCIM", 1)).encoded == COUNT
    assert meta().sources["DCIM"] == str(tmp_path / "2024" / "DCIM")


def test_a_reindex_does_not_take_another_for_it(
    store: Store,
    name: str,
    go: Go,
    meta: Callable[[], CollectionMeta],
    tmp_path: Path,
) -> None:
    root = card(tmp_path / "DCIM", 0)
    go(root)
    shutil.rmtree(root)
    card(root, 1)
    live = resolve(store, name)
    roots = {"DCIM": Root(str(root), "elsewhere", "1:2")}
    store.set_metadata(live, dataclasses.replace(meta(), roots=roots))
    with raises(UsageError, "DCIM", root, "elsewhere", live, hint="--name NAME"):
        open_recorded_sources(store, meta(), live, Settings(home=tmp_path))


def test_an_archive_made_anew_is_the_same(go: Go, tmp_path: Path) -> None:
    root = card(tmp_path / "DCIM", 0)
    for number in range(2):
        shutil.make_archive(str(tmp_path / "packed"), "zip", root)
        assert go(tmp_path / "packed.zip").encoded == (COUNT if number == 0 else 1)
        picture = encode_png(np.full((SIDE, SIDE, 1), 9, np.uint8))
        (root / "IMG_0000.png").write_bytes(picture)
