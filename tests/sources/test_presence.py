"""Each kind of source, asked for a key: gone, there, or unknown because the source has changed."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retrieval.schema.records import Root
from retrieval.sources import Source
from retrieval.sources.presence import Presence, check_presence
from tests.errors import mentions
from tests.sources.conftest import PGM, Open, listed, put
from tests.sources.test_archive import pack

KEYS = ("a/1.png", "a/2.png", "b/3.png", "b/4.gone.png", "c/5.png", "../1.png", ".x/1.png", "a//1.png", "a\0.png", "")
THERE = {"a/1.png", "a/2.png", "b/3.png"}


def files(root: Path) -> Path:
    return put(root, *THERE)


def columns(path: Path) -> Path:
    rows = [{"bytes": PGM, "path": key} for key in sorted(THERE)]
    pq.write_table(pa.table({"image": rows}), path)
    return path


def paths(path: Path) -> Path:
    files(path.parent)
    path.write_text("\n".join(sorted(THERE)))
    return path


KINDS: dict[str, Callable[[Path], Path]] = {
    "folder": lambda tmp: files(tmp / "pics"),
    "zip": lambda tmp: pack(tmp, "zip", dict.fromkeys(THERE, PGM)),
    "tar": lambda tmp: pack(tmp, "tar", dict.fromkeys(THERE, PGM)),
    "tar.xz": lambda tmp: pack(tmp, "tar.xz", dict.fromkeys(THERE, PGM)),
    "parquet": lambda tmp: columns(tmp / "pics.parquet"),
    "list": lambda tmp: paths(tmp / "pics.txt"),
}


def unsure(source: Source) -> set[str]:
    """The reasons why keys are unsure; none of the keys may count as gone."""
    answer = check_presence(source, KEYS)
    assert answer.gone == set()
    assert answer.unsure.keys() == set(KEYS)
    return set(answer.unsure.values())


@pytest.mark.parametrize("kind", KINDS)
def test_gone_or_there(tmp_path: Path, opened: Open, kind: str) -> None:
    source = opened(KINDS[kind](tmp_path))
    for _ in range(2):
        assert set(listed(source)) == THERE
        assert check_presence(source, KEYS) == Presence(gone=set(KEYS) - THERE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("another", [False, True])
def test_a_source_that_was_removed_or_replaced(tmp_path: Path, opened: Open, kind: str, another: bool) -> None:
    path = KINDS[kind](tmp_path)
    source = opened(path)
    listed(source)
    away = path.rename(path.with_name(f"away-{path.name}"))
    if another:
        (shutil.copytree if away.is_dir() else shutil.copyfile)(away, path)
    (why,) = unsure(source)
    assert mentions(why, path)
    if path.is_dir():
        listed(source)
        assert check_presence(source, KEYS).gone == set(KEYS) - THERE, "a new listing is of what is there now"


def test_a_subfolder_that_was_replaced(tmp_path: Path, opened: Open) -> None:
    """As when a disk is mounted on it."""
    root = files(tmp_path / "pics")
    source = opened(root)
    listed(source)
    (root / "b").rename(tmp_path / "b")
    (root / "b").mkdir()
    answer = check_presence(source, ["a/9.png", "b/3.png", "c/5.png"])
    assert answer.gone == {"a/9.png", "c/5.png"}
    assert mentions(answer.unsure["b/3.png"], "pics/b/")
    (root / "b").rmdir()
    assert check_presence(source, ["b/3.png"]).gone == {"b/3.png"}, "the folder was removed from one that is there"


def test_other_things_in_place_of_an_image(tmp_path: Path, opened: Open) -> None:
    root = files(tmp_path / "pics")
    (root / "a" / "2.png").unlink()
    (root / "a" / "2.png").mkdir()
    os.mkfifo(root / "pipe.png")
    (root / "nowhere.png").symlink_to(root / "x.png")
    (root / "linked.png").symlink_to(root / "a" / "1.png")
    (root / "folder.png").symlink_to(root / "a")
    (root / "loop").symlink_to(root)
    put(root, "scan.unknown")
    source = opened(root)
    listed(source)
    keys = ["a/2.png", "pipe.png", "nowhere.png", "linked.png", "folder.png", "loop/a/1.png", "scan.unknown"]
    assert check_presence(source, keys) == Presence(gone={"a/2.png", "pipe.png", "folder.png", "loop/a/1.png"})


def test_a_folder_that_cannot_be_read(tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    source = opened(files(tmp_path / "pics"))
    listed(source)
    before = Path.lstat

    def lstat(self: Path) -> os.stat_result:
        if self.name == "5.png":
            raise PermissionError(13, "Permission denied")
        return before(self)

    put(tmp_path / "pics", "c/x.txt")
    monkeypatch.setattr(Path, "lstat", lstat)
    answer = check_presence(source, ["a/9.png", "c/5.png"])
    assert answer == Presence({"a/9.png"}, {"c/5.png": "pics/c/5.png cannot be checked: Permission denied"})


def test_by_url(tmp_path: Path, opened: Open) -> None:
    memory, url = fsspec.filesystem("memory"), f"memory://{tmp_path.name}/pics"
    memory.pipe({f"{url}/{key}": PGM for key in THERE})
    try:
        source = opened(url)
        assert mentions(unsure(source).pop(), url)
        listed(source)
        assert check_presence(source, KEYS) == Presence(gone=set(KEYS) - THERE)
        assert "not UTF-8" in check_presence(source, ["caf\\xe9.png"]).unsure["caf\\xe9.png"]
        memory.rm(f"{url}/a/1.png")
        assert mentions(unsure(source).pop(), url)
        assert source.identify() == Root(url)
    finally:
        memory.rm(f"memory://{tmp_path.name}", recursive=True)


def test_data_sets_and_single_files(tmp_path: Path, opened: Open) -> None:
    source = opened("mnist-sample")
    assert check_presence(source, ["train/00000", "train/99999", "00000"]) == Presence(gone={"train/99999", "00000"})
    single = opened(files(tmp_path / "pics") / "a" / "1.png")
    assert mentions(unsure(single).pop(), single.spec)
    assert single.identify() == opened(tmp_path / "pics" / "a").identify()
