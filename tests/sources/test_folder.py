"""Folders and single files: what is listed, in which order, under which key, and what is never read."""

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.config import Settings
from retrieval.errors import BadImage, SourceError
from retrieval.sources import base, open_source
from retrieval.sources.base import key_of
from tests.errors import raises
from tests.sources.conftest import PGM, Open, listed, only, put


def test_lists_images_recursively_and_sorted(tmp_path: Path, opened: Open) -> None:
    root = put(tmp_path / "pics", "b/2.PNG", "a.jpg", "b/1.png", "c.webp", "b/notes.txt", ".x.png", ".git/y.png")
    (root / "b" / "1.png").write_bytes(b"12345")
    os.utime(root / "b" / "1.png", ns=(1, 1_700_000_000_123_456_789))
    source = opened(root)
    assert (source.name, source.spec, source.whole) == ("pics", str(root), True)
    assert listed(source) == listed(source) == ["a.jpg", "b/1.png", "b/2.PNG", "c.webp"]
    entry = list(source.entries())[1]
    assert (entry.source, entry.bytes, entry.mtime_ns, entry.label) == ("pics", 5, 1_700_000_000_123_456_789, None)
    assert entry.read() == source.read("b/1.png") == b"12345"


def test_labels_are_parent_folders(tmp_path: Path, opened: Open) -> None:
    root = put(tmp_path / "pics", "top.png", "cats/1.png", "x/dogs/2.png")
    source = opened(root, labels=True)
    assert {e.key: e.label for e in source.entries()} == {
        "top.png": None,
        "cats/1.png": "cats",
        "x/dogs/2.png": "dogs",
    }


def test_lists_lazily(tmp_path: Path, opened: Open) -> None:
    root = put(tmp_path / "pics", "a/1.png", "b/2.png")
    entries = opened(root).entries()
    assert next(entries).key == "a/1.png"
    put(root, "b/3.png")
    assert [entry.key for entry in entries] == ["b/2.png", "b/3.png"]


names = st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=20).filter(
    lambda name: not name.startswith(".")
)


@given(st.sets(st.tuples(names, names), min_size=1, max_size=5))
def test_any_name_is_listed_and_read_by_its_key(pairs: set[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for number, (parent, name) in enumerate(sorted(pairs)):
            put(root, f"{parent}/{name}.png", data=b"%d" % number)
        source = open_source(str(root), Settings(home=root))
        found = {entry.key: entry.read() for entry in source.entries()}
        assert set(found) == {f"{parent}/{name}.png" for parent, name in pairs}
        assert found == {key: source.read(key) for key in found}


def test_names_that_are_not_utf8(tmp_path: Path, opened: Open) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (folder / os.fsdecode(b"\xff \xf0\x9f\x98\xba\n.png")).write_bytes(PGM)
    source = opened(tmp_path, labels=True)
    entry = only(source)
    assert (entry.key, entry.label) == ("caf\\xe9/\\xff 😺\n.png", "caf\\xe9")
    assert entry.read() == source.read(entry.key) == PGM


def test_a_path_of_more_than_600_characters(tmp_path: Path, opened: Open) -> None:
    key = "/".join(["a folder with a long name " * 9] * 3) + "/" + "n" * 200 + ".png"
    source = opened(put(tmp_path / "pics", key))
    entry = only(source)
    assert len(entry.key) > 600
    assert entry.key == key
    assert entry.read() == source.read(key) == PGM


@given(st.binary(min_size=1, max_size=20))
def test_keys_are_always_utf8(raw: bytes) -> None:
    key = key_of(os.fsdecode(raw))
    assert key.encode().decode() == key
    assert key == raw.decode("utf-8", "backslashreplace")


def test_links(tmp_path: Path, opened: Open) -> None:
    put(tmp_path, "outside.png")
    root = put(tmp_path / "pics", "a/1.png", ".annex/object", data=b"inside")
    (root / "loop").symlink_to(root)
    (root / "b-annexed.png").symlink_to(root / ".annex" / "object")
    (root / "c-outside.png").symlink_to(tmp_path / "outside.png")
    (root / "d-nowhere.png").symlink_to(root / "gone.png")
    (root / "e-self.png").symlink_to(root / "e-self.png")
    (root / "folder.png").symlink_to(root / "a")
    source = opened(root)
    entries = {entry.key: entry for entry in source.entries()}
    assert list(entries) == ["a/1.png", "b-annexed.png", "c-outside.png", "d-nowhere.png", "e-self.png"]
    assert entries["b-annexed.png"].read() == source.read("b-annexed.png") == b"inside"
    assert entries["b-annexed.png"].bytes == 6
    with raises(BadImage, "pics/c-outside.png", "outside", root):
        entries["c-outside.png"].read()
    for key in ("d-nowhere.png", "e-self.png"):
        with raises(BadImage, f"pics/{key}", "link"):
            entries[key].read()


@pytest.mark.parametrize(
    "key",
    [
        *("../outside.png", "a/../../outside.png", "/etc/passwd", "{tmp}/outside.png", "out/outside.png"),
        *("link.png", "a\0.png", "a//1.png", "./a/1.png", ".hidden.png", "a", "", "a/gone.png"),
        *("x" * 5000 + ".png", "\udcff.png"),
    ],
)
def test_keys_are_never_trusted(tmp_path: Path, opened: Open, key: str) -> None:
    put(tmp_path, "outside.png")
    root = put(tmp_path / "pics", "a/1.png", ".hidden.png")
    (root / "out").symlink_to(tmp_path)
    (root / "link.png").symlink_to(tmp_path / "outside.png")
    with pytest.raises(BadImage):
        opened(root).read(key.format(tmp=tmp_path))


def test_a_file_that_cannot_be_read_after_it_was_listed(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = put(tmp_path / "pics", "1.png", data=b"12345")
    entry = only(opened(root))
    monkeypatch.setattr(base, "MAX_BYTES", 4)
    with raises(BadImage, "pics/1.png", "4 bytes"):
        entry.read()
    (root / "1.png").unlink()
    with raises(BadImage, "pics/1.png", "No such file or directory"):
        entry.read()
    os.mkfifo(root / "1.png")
    assert entry.read() == b""  # a pipe that nobody writes to: no waiting


def test_nothing_to_find(tmp_path: Path, opened: Open) -> None:
    (tmp_path / "empty" / "deeper").mkdir(parents=True)
    with raises(SourceError, tmp_path / "empty", "no files"):
        listed(opened(tmp_path / "empty"))
    root = put(tmp_path / "texts", *(f"{n}.txt" for n in range(12)), "png", "sub/x.csv")
    with raises(SourceError, root, "14 files", ".jpg", ".png"):
        listed(opened(root))


@pytest.mark.parametrize("denied", ["pics", "pics/b"])
def test_a_folder_that_may_not_be_listed_is_never_taken_for_an_empty_one(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch, denied: str
) -> None:
    put(tmp_path / "pics", "a.png", "b/1.png")
    folder = tmp_path / denied
    folder.chmod(0)
    if os.access(folder, os.R_OK):  # root may do everything: let the system call say no
        scandir = os.scandir

        def refusing(path: str | Path) -> "os._ScandirIterator[str]":
            if str(path) == str(folder):
                raise PermissionError(13, "Permission denied")
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refusing)
    try:
        with raises(SourceError, folder, "Permission denied"):
            listed(opened(tmp_path / "pics"))
    finally:
        folder.chmod(0o755)


def test_a_single_file_is_the_same_image_as_in_its_folder(tmp_path: Path, opened: Open) -> None:
    root = put(tmp_path / "pics", "1.png", "2.png")
    source = opened(root / "1.png")
    assert (source.name, source.spec, source.whole) == ("pics", str(root / "1.png"), False)
    entry = only(source)
    assert entry == next(opened(root).entries())
    assert entry.read() == source.read("1.png") == PGM
    with raises(BadImage, "pics/2.png", root / "1.png"):
        source.read("2.png")
    (root / "1.png").unlink()
    with raises(SourceError, root / "1.png", "No such file or directory"):
        listed(source)
