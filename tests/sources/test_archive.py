"""Zip and tar: read in place, in the archive's order; their members are not trusted."""

import io
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrieval.config import Settings
from retrieval.errors import BadImage, SourceError
from retrieval.sources import base, open_source, tar
from tests.errors import raises
from tests.sources.conftest import PGM, Open, listed, only, put

TARS = ["tar", "tar.gz", "tgz", "tar.bz2", "tbz2", "tar.xz", "txz"]
KINDS = ["zip", *TARS]
MTIME = 1_700_000_000
Contents = dict[str, bytes]


def pack(folder: Path, kind: str, contents: Contents, name: str = "pics") -> Path:
    path = folder / f"{name}.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, data in contents.items():
                archive.writestr(zipfile.ZipInfo(member, (2023, 11, 14, 22, 13, 20)), data)
        return path
    with tarfile.open(path, f"w:{compression(kind)}") as tar:  # type: ignore[call-overload]
        for member, data in contents.items():
            info = tarfile.TarInfo(member)
            info.size, info.mtime = len(data), MTIME
            tar.addfile(info, io.BytesIO(data))
    return path


def compression(kind: str) -> str:
    short = {"tar": "", "tgz": "gz", "tbz2": "bz2", "txz": "xz"}
    return short.get(kind, kind.removeprefix("tar."))


@pytest.mark.parametrize("kind", KINDS)
def test_lists_and_reads_in_the_archives_order(tmp_path: Path, opened: Open, kind: str) -> None:
    contents = {"./b/2.png": b"two", "a b/😺\n.JPG": b"one", "readme.txt": b"", "z.png": b"three"}
    hidden = {".x.png": b"", "__MACOSX/._z.png": b"", ".git/y.png": b""}
    path = pack(tmp_path, kind, contents | hidden, "my pics")
    source = opened(path, labels=True)
    assert (source.name, source.spec, source.whole) == ("my-pics", str(path), True)
    entries = list(source.entries())
    assert [(e.key, e.bytes, e.label) for e in entries] == [
        ("b/2.png", 3, "b"),
        ("a b/😺\n.JPG", 3, "a b"),
        ("z.png", 5, None),
    ]
    assert {e.mtime_ns for e in entries} == {MTIME * 10**9}
    assert [e.read() for e in reversed(entries)] == [b"three", b"one", b"two"]
    assert source.read("b/2.png") == b"two"
    with raises(BadImage, "my-pics/readme.txt", source.spec):
        source.read("readme.txt")


@pytest.mark.parametrize("kind", ["zip", "tar"])
@given(
    contents=st.dictionaries(
        st.text(st.characters(exclude_characters="./\\\0", codec="utf-8"), min_size=1, max_size=8).map(
            lambda s: f"{s}.png"
        ),
        st.binary(max_size=600),
        min_size=1,
        max_size=4,
    )
)
def test_members_round_trip(tmp_path_factory: pytest.TempPathFactory, kind: str, contents: Contents) -> None:
    folder = tmp_path_factory.mktemp("packed")
    source = open_source(str(pack(folder, kind, contents)), Settings(home=folder))
    assert {entry.key: entry.read() for entry in source.entries()} == contents


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_members_that_lead_out_are_refused_one_by_one(tmp_path: Path, opened: Open, kind: str) -> None:
    (tmp_path / "outside.png").write_bytes(b"secret")
    bad = ["../outside.png", "a/../../outside.png", f"{tmp_path}/outside.png"]
    (tmp_path / "in").mkdir()
    source = opened(pack(tmp_path / "in", kind, {"ok.png": PGM} | dict.fromkeys(bad, b"x")))
    assert listed(source) == ["ok.png", *bad]
    for key in bad:
        with raises(BadImage, "out"):
            source.read(key)
    assert source.read("ok.png") == PGM


def test_of_two_members_with_one_path_the_later_counts(tmp_path: Path, opened: Open) -> None:
    entry = only(opened(pack(tmp_path, "tar", {"./a.png": b"old", "a.png": b"new!"})))
    assert (entry.key, entry.bytes, entry.read()) == ("a.png", 4, b"new!")


def test_links_in_a_tar(tmp_path: Path, opened: Open) -> None:
    path = pack(tmp_path, "tar", {"a.png": PGM})
    with tarfile.open(path, "a") as tar:
        for name, kind, target in (
            ("hard.png", tarfile.LNKTYPE, "a.png"),
            ("hard-out.png", tarfile.LNKTYPE, "../x.png"),
            ("soft.png", tarfile.SYMTYPE, "/etc/passwd"),
            ("pipe.png", tarfile.FIFOTYPE, ""),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
    source = opened(path)
    assert listed(source) == ["a.png", "hard.png", "hard-out.png", "soft.png"]
    assert source.read("hard.png") == PGM
    for key in ("hard-out.png", "soft.png"):
        with raises(BadImage, f"{source.name}/{key}", "links"):
            source.read(key)


def test_names_that_are_not_utf8(tmp_path: Path, opened: Open) -> None:
    path = tmp_path / "pics.tar"
    with tarfile.open(path, "w", encoding="utf-8", errors="surrogateescape") as tar:
        info = tarfile.TarInfo(os.fsdecode(b"caf\xe9.png"))
        info.size = len(PGM)
        tar.addfile(info, io.BytesIO(PGM))
    source = opened(path)
    assert listed(source) == ["caf\\xe9.png"]
    assert source.read("caf\\xe9.png") == PGM


def test_members_that_cannot_be_read(tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(tmp_path, "zip", {"locked.png": PGM, "rotten.png": b"rotten" * 9, "large.png": bytes(5000)})
    raw = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # of the first member, locked.png
        raw[raw.index(signature) + flags] |= 1
    rotten = raw.index(b"rotten.png") + len(b"rotten.png")
    raw[rotten : rotten + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(raw)
    source = opened(path)
    monkeypatch.setattr(base, "MAX_BYTES", 4999)
    for key, named in (("locked", "encrypted"), ("rotten", "read"), ("large", "4,999 bytes")):
        with raises(BadImage, f"pics/{key}.png", named):
            source.read(f"{key}.png")


@pytest.mark.parametrize("kind", KINDS)
def test_broken_archives(tmp_path: Path, opened: Open, kind: str) -> None:
    whole = pack(tmp_path, kind, {f"{n}.png": os.urandom(4000) for n in range(9)}).read_bytes()
    path = tmp_path / f"broken.{kind}"
    for data in (b"", b"no archive at all", b"PK and no more", whole[: len(whole) // 2], whole[:20]):
        path.write_bytes(data)
        with raises(SourceError, path, "archive", hint=""):
            opened(path)


def test_a_broken_header_in_the_middle_is_not_taken_for_the_end(tmp_path: Path, opened: Open) -> None:
    path = pack(tmp_path, "tar", {f"{n}.png": bytes(700) for n in range(9)})
    raw = bytearray(path.read_bytes())
    raw[4 * 1536 + 148] ^= 0xFF  # in the checksum of the fifth member's header
    path.write_bytes(raw)
    with raises(SourceError, path, "byte 6,144", hint=""):
        opened(path)


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_nothing_to_find(tmp_path: Path, opened: Open, kind: str) -> None:
    with raises(SourceError, "no files"):
        listed(opened(pack(tmp_path, kind, {".hidden.png": PGM})))
    with raises(SourceError, "2 files", ".png"):
        listed(opened(pack(tmp_path, kind, {"a.txt": b"", "b/c.csv": b""})))


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_by_url(tmp_path: Path, opened: Open, kind: str) -> None:
    import fsspec

    url = f"memory://{tmp_path.name}/pics.{kind}"
    fsspec.filesystem("memory").pipe(url, pack(tmp_path, kind, {"a.png": PGM}).read_bytes())
    source = opened(url)
    assert (source.name, source.spec) == ("pics", url)
    assert only(source).read() == PGM
    with raises(SourceError, "memory://gone/x.zip"):
        opened("memory://gone/x.zip")


def test_members_without_a_date_have_no_mtime(tmp_path: Path, opened: Open) -> None:
    path = tmp_path / "pics.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("a.png")
        info.external_attr = stat.S_IFREG << 16
        archive.writestr(info, PGM)
    assert only(opened(path)).mtime_ns == 0


@given(
    st.binary(max_size=300),
    st.lists(st.tuples(st.integers(0, 310), st.integers(0, 60)), max_size=20),
    st.integers(1, 20),
    st.integers(1, 80),
)
def test_a_cursor_reads_as_a_file_does(data: bytes, reads: list[tuple[int, int]], chunk: int, kept: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tar, "CHUNK_BYTES", chunk)
        patch.setattr(tar, "KEPT_BYTES", kept)
        cursor = tar.TarCursor(io.BytesIO(data))
        for at, size in reads:
            if at >= cursor.start:
                assert cursor.read_at(at, size) == data[at : at + size]


@pytest.mark.parametrize("kind", ["tar.gz", "tar.bz2", "tar.xz"])
@pytest.mark.parametrize(("apart", "cursors"), [(1, 1), (10, 1), (40, 2)])
def test_a_compressed_tar_is_not_unpacked_again_for_readers_that_overtake_each_other(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch, kind: str, apart: int, cursors: int
) -> None:
    """Two readers, `apart` images from each other; the cache holds about 20."""
    contents = {f"{n}.png": os.urandom(1000) for n in range(160)}
    source = opened(pack(tmp_path, kind, contents))
    monkeypatch.setattr(tar, "CHUNK_BYTES", 512)
    monkeypatch.setattr(tar, "KEPT_BYTES", 40_000)
    made = []
    really = tar.TarCursor.__init__

    def count(cursor: tar.TarCursor, stream: io.BytesIO) -> None:
        made.append(cursor)
        really(cursor, stream)

    monkeypatch.setattr(tar.TarCursor, "__init__", count)
    entries = list(source.entries())
    for start in range(0, len(entries), 2 * apart):
        for first, second in zip(
            entries[start : start + apart], entries[start + apart : start + 2 * apart], strict=True
        ):
            for entry in (second, first):
                assert entry.read() == contents[entry.key]
    assert len(made) == cursors
    for key in ["0.png", "159.png"] * 2 * tar.MOST_CURSORS:
        assert source.read(key) == contents[key]


def test_damage_behind_the_first_members_of_a_compressed_tar(
    tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tar, "CHUNK_BYTES", 1000)
    contents = {f"{n}.png": os.urandom(3000) for n in range(50)}
    path = pack(tmp_path, "tar.gz", contents)
    source = opened(path)
    os.truncate(path, path.stat().st_size // 2)  # the source has it open
    assert source.read("3.png") == contents["3.png"]
    for _ in range(2):
        with raises(BadImage, "pics/49.png", "archive"):
            source.read("49.png")
    assert source.read("4.png") == contents["4.png"]


def test_a_sparse_file_is_refused(tmp_path: Path, opened: Open) -> None:
    if shutil.which("tar") is None or sys.platform != "linux":
        pytest.skip("NOT TESTED, for want of GNU tar")
    with (tmp_path / "holes.png").open("wb") as file:
        file.truncate(10**6)
        file.write(b"x")
    put(tmp_path, "full.png")
    subprocess.run(["tar", "-cSf", "a.tar", "holes.png", "full.png"], cwd=tmp_path, check=True, timeout=30)
    source = opened(tmp_path / "a.tar")
    assert listed(source) == ["holes.png", "full.png"]
    with raises(BadImage, "a/holes.png", "sparse"):
        source.read("holes.png")
    assert source.read("full.png") == PGM


def test_a_tar_that_shrinks_after_it_was_listed(tmp_path: Path, opened: Open) -> None:
    path = pack(tmp_path, "tar", {"1.png": bytes(51_200), "2.png": bytes(51_200)})
    source = opened(path)
    os.truncate(path, 512 + 51_200 + 512 + 100)
    with raises(BadImage, "pics/2.png", 100, "51,200 bytes"):
        source.read("2.png")
