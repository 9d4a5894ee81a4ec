"""A damaged embedded collection that nothing uses: it stops no job, and is named, listed and dropped."""

import datetime as dt
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieval.store.edge.engine import EdgeStore
from retrieval.store.naming import collection_name, find_damaged, find_unused
from tests.cli.conftest import Call

OLD = "images-20200101t000000z-4f1c2a9b"


def empty_a_file(folder: Path) -> None:
    (folder / "manifest.json").write_text("")


def lose_the_shard(folder: Path) -> None:
    shutil.rmtree(folder / "shard")


def lose_the_meta(folder: Path) -> None:
    (folder / "meta.json").unlink()


def other_json(folder: Path) -> None:
    (folder / "meta.json").write_text("{}")


def no_object(folder: Path) -> None:
    (folder / "meta.json").write_text("[1]")
    (folder / "manifest.json").write_text("[1]")


def no_number(folder: Path) -> None:
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "count": "many"}))


def empty_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


Damage = Callable[[Path], None]
ways = pytest.mark.parametrize(
    "damage",
    [empty_a_file, lose_the_shard, lose_the_meta, other_json, no_object, no_number, empty_folder],
    ids=lambda damage: damage.__name__,
)


def broken(home: Path, damage: Damage) -> Path:
    """The folder of a damaged collection beside the live one."""
    collections = home / "embedded" / "collections"
    (live,) = (folder for folder in collections.iterdir() if folder.is_dir())
    shutil.copytree(live, collections / OLD)
    damage(collections / OLD)
    return collections / OLD


@ways
def test_it_is_known_for_what_it_is_and_dropped(home: Path, call: Call, damage: Damage) -> None:
    folder = broken(home, damage)
    store = EdgeStore(home / "embedded")
    try:
        store.check()
        assert list(find_damaged(store, "images")) == [OLD]
        assert find_unused(store, "images") == {}
    finally:
        store.close()
    (row,) = (row for row in call("collections", "--json").object["collections"] if row["collection"] == OLD)
    assert (row["state"], row["aliases"], row["points"]) == ("damaged", [], None)
    assert str(folder) in row["reason"]
    assert call("collections", "--prune", "--json").object["dropped"] == [OLD]
    assert not folder.exists()
    assert call("status").code == 0


def test_it_stops_nothing(home: Path, pictures: Path, call: Call) -> None:
    folder = broken(home, empty_a_file)
    query = min(pictures.rglob("*.png"))
    commands: list[tuple[object, ...]] = [
        *(("status",), ("search", query), ("collections",), ("doctor",), ("ingest", pictures)),
        *(("reindex", "--max-drop", "100%"), ("rollback",)),
    ]
    for command in commands:
        done = call(*command)
        assert done.code == 0, (command, done.err)
    assert folder.exists(), "only --prune, which was not asked for, drops what might be restored"
    said = call("doctor").out
    assert str(folder / "manifest.json") in said
    assert "retrieval collections --prune" in said
    table = call("collections")
    assert "damaged" in table.out
    assert f"damaged: {folder}" in table.err
    assert OLD in call("collections", "--prune").out


def test_one_in_use_is_told_and_never_dropped(home: Path, call: Call) -> None:
    (live,) = (home / "embedded" / "collections").iterdir()
    empty_a_file(live)
    assert live.name in call("search", "x.png").error()
    (row,) = call("collections", "--prune", "--json").object["collections"]
    assert (row["collection"], row["state"], row["aliases"]) == (live.name, "damaged", ["images"])
    assert live.exists()
    assert str(live) in call("doctor").out


def test_names_sort_before(home: Path) -> None:
    then = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    assert collection_name("images", "4f1c2a9b", then) == OLD, "or else the other tests see no name of ours"
