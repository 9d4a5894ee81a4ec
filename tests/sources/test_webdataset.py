"""WebDataset shards: the files beside an image become its label and fields."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from retrieval.errors import SourceError
from retrieval.schema import user_fields
from retrieval.sources import Source, webdataset
from tests.errors import raises
from tests.sources.conftest import PGM, Open, listed
from tests.sources.test_archive import Contents, pack

ABOUT = {"caption": "from the JSON", "width": 9, "nsfw": 0.25, "url": "http://x/1", "tags": ["a"], "none": None}


def described(source: Source) -> dict[str, tuple[str | None, dict[str, Any] | None]]:
    """Label and fields of each image."""
    return {entry.key: (entry.label, entry.fields) for entry in source.entries()}


@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
@pytest.mark.parametrize("where", ["here", "by URL"])
def test_labels_captions_and_fields(tmp_path: Path, opened: Open, kind: str, where: str) -> None:
    contents = {
        "./00.jpg": PGM,
        "./00.cls": b"7\n",
        "./00.txt": "a größer cat\n".encode(),
        "./00.json": json.dumps(ABOUT).encode(),
        "b.c/01.json": b'{"label": 3, "mask": true}',  # before the image, as some tools sort
        "b.c/01.left.PNG": PGM,
        "b.c/01.right.png": PGM,
        "02.png": PGM,
        "03.png": PGM,
        "03.cls": b"cat",
    }
    spec = str(pack(tmp_path, kind, contents))
    if where == "by URL":
        import fsspec

        data, spec = Path(spec).read_bytes(), f"memory://{tmp_path.name}/pics.{kind}"
        fsspec.filesystem("memory").pipe(spec, data)
    source = opened(spec)
    expected = {
        "00.jpg": ("7", {"caption": "a größer cat", "nsfw": 0.25, "url": "http://x/1"}),
        "b.c/01.left.PNG": ("3", {"mask": True}),
        "b.c/01.right.png": ("3", {"mask": True}),
        "02.png": (None, None),
        "03.png": ("cat", None),
    }
    assert described(source) == expected == described(source)
    assert {entry.read() for entry in source.entries()} == {PGM}
    with_folders = {key: (label or ("b.c" if "/" in key else None), own) for key, (label, own) in expected.items()}
    assert described(opened(spec, labels=True)) == with_folders


def test_only_what_is_beside_an_image_describes_it(tmp_path: Path, opened: Open) -> None:
    contents = {
        "a.png": PGM,
        "b.png": PGM,
        "a.cls": b"1",  # not consecutive, so not of a's sample
        "b/a.cls": b"2",
        "c.jpg.json": b'{"camera": "x"}',
        "c.jpg": PGM,
        "readme.txt": b"a text",
    }
    assert set(described(opened(pack(tmp_path, "tar", contents))).values()) == {(None, None)}
    assert set(described(opened(pack(tmp_path, "zip", {"a.png": PGM, "a.cls": b"1"}))).values()) == {(None, None)}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cls": b"\xff\xfe", "json": b'{"a": 1}'}, {"a": 1}),
        ({"json": b'{"a": 1', "txt": b"a cat"}, {"caption": "a cat"}),
        ({"json": b"[" * 100_000}, {}),
        ({"json": b"[1, 2]", "cls": b" \n"}, {}),
        ({"json": b'{"a": NaN, "b": 1e999, "c": 9223372036854775808, "d": "\\ud800", "": 1, "path": "x"}'}, {}),
        ({"json": b'{"label": "one"}', "cls": b"two"}, {"label": "two"}),
        ({"txt": b"x" * 3000}, {"caption": "x" * user_fields.MAX_TEXT}),
        ({"json": json.dumps({f"f{n}": n for n in range(99)}).encode()}, {f"f{n}": n for n in range(50)}),
        (
            {"json": json.dumps({f"f{n}": "x" * 2000 for n in range(9)}).encode()},
            {f"f{n}": "x" * 2000 for n in range(8)},
        ),
        ({"txt": b"x" * (webdataset.LARGEST + 1)}, {}),
    ],
)
def test_what_cannot_be_stored_is_left_out(
    tmp_path: Path, opened: Open, files: dict[str, bytes], expected: dict[str, Any]
) -> None:
    contents = {"1.png": PGM} | {f"1.{suffix}": data for suffix, data in files.items()}
    (found,) = described(opened(pack(tmp_path, "tar", contents))).values()
    label = expected.pop("label", None)
    assert found == (label, expected or None)


def test_descriptions_are_not_kept_in_memory(tmp_path: Path, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webdataset, "SPOOL_BYTES", 1000)
    contents: Contents = {}
    for n in range(200):
        contents |= {f"{n:03}.png": PGM, f"{n:03}.txt": f"number {n}".encode()}
    source = opened(pack(tmp_path, "tar.xz", contents))
    assert source._descriptions._file._rolled  # type: ignore[attr-defined]
    assert [entry.fields for entry in source.entries()] == [{"caption": f"number {n}"} for n in range(200)]


@pytest.mark.parametrize("kind", ["tar", "tar.gz"])
def test_a_shard_cut_in_the_middle(tmp_path: Path, opened: Open, kind: str) -> None:
    """In a header, in an image, in a caption; between two members only the end is missing, and nothing is pruned."""
    contents: Contents = {}
    for n in range(9):
        contents |= {f"{n}.png": os.urandom(1500), f"{n}.txt": os.urandom(600).hex().encode()}
    whole = pack(tmp_path, kind, contents).read_bytes()
    path = tmp_path / f"cut.{kind}"
    member = {"tar": 4096, "tar.gz": len(whole) // 9}[kind]
    for size in (member * 4 + 100, member * 4 + 1300, member * 4 + 3000):
        path.write_bytes(whole[:size])
        with raises(SourceError, path, "archive", hint="complete"):
            opened(path)
    if kind == "tar":
        path.write_bytes(whole[: 4 * member])
        source = opened(path)
        assert listed(source) == ["0.png", "1.png", "2.png", "3.png"]
        with raises(SourceError, path, "truncated"):
            source.check_unchanged()
