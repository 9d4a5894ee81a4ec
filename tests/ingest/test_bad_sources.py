"""Files that are damaged, disappear, grow, change or have strange names, and roots that do not exist."""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from retrieval.schema.image_shape import ImageShape
from retrieval.schema.records import point_id
from retrieval.sources import Entry
from retrieval.sources.folder import Folder
from retrieval.sources.read import ReadResult, load_one
from tests.cli.conftest import Call, Done
from tests.errors import mentions
from tests.ingest.jobs import Place, make_digits, same_points

Json = dict[str, Any]


@pytest.fixture
def ingest(place: Place, call: Call) -> Call:
    """`retrieval ingest ARGUMENTS` in this process, into the test's place."""
    return lambda *arguments: call("ingest", *arguments, *place.options())


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the images that were opened, in runs too short for decoding processes."""
    keys: list[str] = []

    def load(fetch: Callable[[], bytes], where: str, shape: ImageShape) -> ReadResult:
        keys.append(where.partition("/")[2])
        return load_one(fetch, where, shape)

    monkeypatch.setattr("retrieval.sources.read.load_one", load)
    return keys


def lines(file: Path) -> list[Json]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def ledgers(place: Place) -> list[Path]:
    return list((place.home / "refused").glob("*"))


def counts(done: Done) -> tuple[int, ...]:
    """Numbers of images encoded, unchanged, refused."""
    return tuple(done.object[name] for name in ("found", "encoded", "unchanged", "failed"))


def spoil(folder: Path) -> dict[Path, bytes]:
    """Five of the files, and their contents."""
    files = random.Random(0).sample(sorted(folder.glob("*/*.png")), 5)
    whole = {file: file.read_bytes() for file in files}
    first = whole[files[0]]
    for file, data in zip(files, (b"", first[:100], b"not a picture", bytes(300), b"\x89PNG\r\n\x1a\n"), strict=True):
        file.write_bytes(data)
    return whole


def test_five_bad_of_a_thousand(place: Place, ingest: Call, tmp_path: Path, opened: list[str]) -> None:
    folder, errors = make_digits(tmp_path / "digits", 1000), tmp_path / "errors.jsonl"
    whole = spoil(folder)
    bad = {file.relative_to(folder).as_posix() for file in whole}

    def refused(*options: object, encoded: int, unchanged: int) -> list[Json]:
        done = ingest(folder, "--json", "--errors", errors, *options)
        assert (done.code, counts(done)) == (3, (1000, encoded, unchanged, 5))
        assert place.stored == 995
        (ledger,) = ledgers(place)
        rows = lines(ledger)
        assert {row["path"] for row in rows} == {row["path"] for row in done.object["refused"]} == bad
        assert all(row["source"] == "digits" and row["reason"] and row["time"] for row in rows)
        assert sorted(map(str, lines(errors))) == sorted(map(str, rows))
        return rows

    first = refused(encoded=995, unchanged=0)
    opened.clear()
    assert refused(encoded=0, unchanged=995) == first
    assert opened == []
    refused("--retry-failed", encoded=0, unchanged=995)
    assert sorted(opened) == sorted(bad)
    for file, data in whole.items():
        file.write_bytes(data)
    done = ingest(folder, "--json", "--errors", errors)
    assert (done.code, counts(done), place.stored) == (0, (1000, 5, 995, 0), 1000)
    assert (ledgers(place), lines(errors)) == ([], [])


@pytest.mark.parametrize("place", ["embedded"], indirect=True)
def test_a_run_that_goes_wrong_is_stopped(place: Place, ingest: Call, tmp_path: Path) -> None:
    folder = make_digits(tmp_path / "digits", 200)
    bad = {file.relative_to(folder).as_posix() for file in spoil(folder)}
    error = ingest(folder, "--max-failures", 2, "--batch-size", 10).error(1, "3 images", 2, option="--max-failures")
    assert any(key in error for key in bad)
    assert 0 < (stored := place.stored) < 195
    done = ingest(folder, "--max-failures", 2, "--json")  # three of them were refused before
    assert (done.code, counts(done)) == (3, (200, 195 - stored, stored, 5))


def test_what_is_gone_is_removed_only_when_that_is_sure(place: Place, ingest: Call, tmp_path: Path) -> None:
    folder = make_digits(tmp_path / "digits", 50)
    away = tmp_path / "away"

    def kept(*options: object, code: int) -> str:
        """The error of a run that must delete nothing."""
        before = set(place.points())
        error = ingest(folder, "--prune", *options).error(code)
        assert set(place.points()) >= before
        return error

    assert ingest(folder).code == 0
    folder.rename(away)
    assert f"{folder}: no such file" in kept("--yes", code=1)
    folder.mkdir()  # a mount point with nothing mounted
    assert "no files" in kept("--yes", code=1)
    shutil.copy(next(away.glob("*/*.png")), folder / "stray.png")  # another disk was mounted
    error = kept(code=2)
    assert [part for part in (50, 51, "digits", folder, "--yes") if not mentions(error, part)] == []
    done = ingest(folder, "--prune", "--dry-run", "--json")
    assert (done.code, done.object["deleted"], place.stored) == (0, 50, 51)
    folder.joinpath("stray.png").unlink()
    folder.rmdir()
    away.rename(folder)
    for file in sorted(folder.glob("*/*.png"))[:4]:
        file.unlink()
    done = ingest(folder, "--prune", "--json")  # those four and the stray one: not over a tenth
    assert (done.code, done.object["deleted"], place.stored) == (0, 5, 46)
    for file in sorted(folder.glob("*/*.png"))[:10]:
        file.unlink()
    kept(code=2)
    done = ingest(folder, "--prune", "--yes", "--json")
    assert (done.code, done.object["deleted"], place.stored) == (0, 10, 36)
    left = {point_id("digits", file.relative_to(folder).as_posix()) for file in folder.glob("*/*.png")}
    assert place.points().keys() == left


@pytest.mark.parametrize("place", ["embedded"], indirect=True)
def test_one_source_too_many_gone_and_none_loses_anything(place: Place, ingest: Call, tmp_path: Path) -> None:
    first, second = (make_digits(tmp_path / name, 20) for name in ("first", "second"))
    assert ingest(first, second).code == 0
    for file in [*list(first.glob("*/*.png"))[:1], *list(second.glob("*/*.png"))[:10]]:
        file.unlink()
    ingest(first, second, "--prune").error(2, 10, 20, "second", "--yes")
    assert place.stored == 40


def test_files_that_go_grow_and_change_between_listing_and_reading(
    place: Place, ingest: Call, call: Call, tmp_path: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_digits(tmp_path / "digits", 30)
    files = sorted(folder.glob("*/*.png"))
    vanishing, growing, shrinking, changing, replaced = files[:5]
    whole, other = growing.read_bytes(), files[-1].read_bytes()
    growing.write_bytes(whole[:100])

    def meanwhile() -> None:
        vanishing.unlink()
        growing.write_bytes(whole)
        shrinking.write_bytes(shrinking.read_bytes()[:100])
        changing.write_bytes(other)
        replaced.unlink()
        replaced.mkdir()

    listed = Folder.entries

    def entries(self: Folder) -> Iterator[Entry]:
        found = list(listed(self))
        meanwhile()
        return iter(found)

    with monkeypatch.context() as patch:
        patch.setattr(Folder, "entries", entries)
        done = ingest(folder, "--json")
    assert (done.code, counts(done)) == (3, (30, 26, 0, 3))
    refused = {item["path"] for item in done.object["refused"]}
    assert refused == {file.relative_to(folder).as_posix() for file in (vanishing, shrinking, replaced)}
    opened.clear()
    done = ingest(folder, "--json")
    assert (done.code, counts(done)) == (3, (28, 0, 27, 1))
    assert set(opened) == {file.relative_to(folder).as_posix() for file in (growing, shrinking, changing)}
    fresh = Place(place.home, place.url, f"{place.alias}-fresh")
    call("ingest", folder, *fresh.options())
    same_points(place.points(), fresh.points())


STRANGE = {
    "with spaces .png": "with spaces .png",
    "new\nline and \x1b[2J.png": "new\nline and \x1b[2J.png",
    "emoji 🐱/日本 \"quoted' $(id) %s {x} [red].png": "emoji 🐱/日本 \"quoted' $(id) %s {x} [red].png",
    os.fsdecode(b"caf\xe9/\xff.png"): "caf\\xe9/\\xff.png",
    "-rf.png": "-rf.png",
    "/".join(["x" * 150] * 4) + ".png": "/".join(["x" * 150] * 4) + ".png",
}
"""Name of a file → its key."""


def test_strange_names_and_loops(place: Place, digits: Path, tmp_path: Path) -> None:
    folder, good = tmp_path / "strange\n[bold]", sorted(digits.glob("*/*.png"))
    for number, name in enumerate(STRANGE):
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(good[number], file)
    (folder / "emoji 🐱" / "loop").symlink_to(folder)
    (folder / "around\nand around.png").symlink_to(folder / "around\nand around.png")
    done = place.ingest(folder, "--json")
    assert (done.code, counts(done)) == (3, (len(STRANGE) + 1, len(STRANGE), 0, 1))
    assert done.object["refused"][0]["path"] == "around\nand around.png"
    assert len([line for line in done.err.splitlines() if line.startswith("refused: ")]) == 1
    points = place.points()
    assert {point.payload["path"] for point in points.values()} == set(STRANGE.values())
    again = place.ingest(folder)
    assert again.code == 3
    assert f"{len(STRANGE)} unchanged" in again.out
    same_points(place.points(), points)
