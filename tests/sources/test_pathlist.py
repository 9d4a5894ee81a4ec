"""Text files of paths: what their lines mean, and that every named file is listed or refused."""

import os
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.config import Settings
from retrieval.errors import BadImage, SourceError
from retrieval.sources import open_source, pathlist
from tests.errors import raises
from tests.sources.conftest import PGM, Open, listed, only, put


def write(path: Path, *lines: str | bytes, end: bytes = b"\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(os.fsencode(line) + end for line in lines))
    return path


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_lines(tmp_path: Path, opened: Open, end: bytes) -> None:
    put(tmp_path, "in/a b/1.png", "in/😺.png", "in/#2.png", "in/.hidden/3.png", "out/4.png", data=b"12345")
    os.utime(tmp_path / "in/😺.png", ns=(0, 1_700_000_000_123_456_789))
    outside = f"root:{tmp_path}/out/4.png"
    lines = ["\ufeff# mine", "a b/1.png", "", "  ", "./😺.png", "./#2.png", ".hidden/3.png", "../out/4.png"]
    again = [f"{tmp_path}/out/4.png", f"{tmp_path}/in/a b/1.png", "a b//../a b/1.png"]
    source = opened(write(tmp_path / "in/my choice.txt", *lines, *again, end=end), labels=True)
    assert (source.name, source.spec, source.whole) == ("my-choice", str(tmp_path / "in/my choice.txt"), True)
    entries = list(source.entries())
    assert [(e.key, e.label) for e in entries] == [
        ("a b/1.png", "a b"),
        ("😺.png", None),
        ("#2.png", None),
        (".hidden/3.png", ".hidden"),
        (outside, "out"),
    ]
    assert (entries[1].source, entries[1].bytes, entries[1].mtime_ns) == ("my-choice", 5, 1_700_000_000_123_456_789)
    for entry in entries:
        assert source.read(entry.key) == pickle.loads(pickle.dumps(entry)).read() == b"12345"


@given(st.sets(st.binary(min_size=1, max_size=12), min_size=1, max_size=6))
def test_any_name(tmp_path_factory: pytest.TempPathFactory, names: set[bytes]) -> None:
    """Names may hold bytes that are not UTF-8, but neither a line break nor NUL."""
    root = tmp_path_factory.mktemp("any")
    good = sorted(name for name in names if not set(name) & set(b"/\0\r\n"))
    paths = [root / os.fsdecode(b"x" + name + b".png") for name in good]
    for number, path in enumerate(paths):
        path.write_bytes(b"%d" % number)
    put(root, "last.png")
    source = open_source(str(write(root / "list.txt", *(path.name for path in paths), "last.png")), Settings(home=root))
    entries = list(source.entries())
    assert [entry.read() for entry in entries] == [*(b"%d" % number for number in range(len(paths))), PGM]
    assert [source.read(entry.key) for entry in entries] == [entry.read() for entry in entries]


def test_what_is_not_there_is_listed_and_refused(tmp_path: Path, opened: Open) -> None:
    put(tmp_path, "1.png", "dir/x.png")
    (tmp_path / "dangling.png").symlink_to("gone.png")
    (tmp_path / "self.png").symlink_to("self.png")
    bad = ["gone.png", "dangling.png", "self.png", "dir", "a\0b.png", "x" * 5000, " 1.png", "s3://bucket/1.png"]
    source = opened(write(tmp_path / "list.txt", *bad, "1.png"))
    entries = {entry.key: entry for entry in source.entries()}
    assert list(entries) == [*(os.path.normpath(key) for key in bad), "1.png"]
    for key in [*entries][:-1]:
        for read in (entries[key].read, lambda key=key: source.read(key)):
            with raises(BadImage, f"list/{key}"):
                read()
    assert entries["1.png"].read() == PGM
    assert entries["gone.png"].mtime_ns == 0


def test_a_list_that_leads_nowhere_is_an_error(tmp_path: Path, opened: Open) -> None:
    for lines, named in (
        (["mount/1.png", "mount/2.png"], repr(f"{tmp_path}/mount/1.png")),
        (["Dear reader,", "these are my pictures."], repr(f"{tmp_path}/Dear reader,")),
        (["# nothing yet", ""], "no paths"),
        (["a" * 70_000], "line 1"),
    ):
        with raises(SourceError, tmp_path / "list.txt", named):
            listed(opened(write(tmp_path / "list.txt", *lines)))
    source = opened(write(tmp_path / "list.txt", "1.png"))
    (tmp_path / "list.txt").unlink()
    with raises(SourceError, tmp_path / "list.txt", "No such file or directory"):
        listed(source)
    with raises(BadImage, "list/1.png", tmp_path / "list.txt", "No such file or directory"):
        source.read("1.png")


def test_only_what_is_named_can_be_read(tmp_path: Path, opened: Open) -> None:
    put(tmp_path, "1.png", "2.png", "3.png")
    source = opened(write(tmp_path / "list.txt", "1.png", "#2.png", str(tmp_path / "3.png")))
    for key in ("2.png", "../1.png", f"{tmp_path}/3.png", f"root:{tmp_path}/3.png", "\udcff.png", "a\0.png", ""):
        with raises(BadImage, tmp_path / "list.txt"):
            source.read(key)
    assert source.read("3.png") == PGM  # absolute in the list, but below its folder


def test_the_key_of_an_outside_file_is_unique(tmp_path: Path, opened: Open) -> None:
    put(tmp_path, "out.png", data=b"outside")
    inside = f"root:{tmp_path}/out.png"
    put(tmp_path / "in", inside, data=b"inside")
    source = opened(write(tmp_path / "in/list.txt", str(tmp_path / "out.png"), inside))
    assert [entry.read() for entry in source.entries()] == [b"outside", b"inside"]
    assert len(set(listed(source))) == 2


def test_lists_lazily(tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "1.png", "2.png")
    entries = opened(write(tmp_path / "list.txt", "1.png", "2.png")).entries()
    assert next(entries).key == "1.png"
    (tmp_path / "2.png").unlink()
    assert [(entry.key, entry.mtime_ns) for entry in entries] == [("2.png", 0)]


def test_links_may_lead_anywhere(tmp_path: Path, opened: Open) -> None:
    put(tmp_path, "out.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in/link.png").symlink_to("../out.png")
    assert only(opened(write(tmp_path / "in/list.TXT", "link.png"))).read() == PGM


def test_the_longest_line(tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pathlist, "LONGEST_LINE", 6)
    put(tmp_path, "1.png", "22.png")
    assert listed(opened(write(tmp_path / "list.txt", "1.png"))) == ["1.png"]
    with raises(SourceError, "line 2", "6 bytes"):
        listed(opened(write(tmp_path / "list.txt", "1.png", "22.png")))
