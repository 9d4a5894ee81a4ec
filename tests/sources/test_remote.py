"""Folders by URL: listed lazily and in order; a failed listing never looks like images that are gone."""

import datetime as dt
import functools
import http.server
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import hypothesis
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given
from hypothesis import strategies as st

from retrieval.config import Settings
from retrieval.errors import BadImage, SourceError
from retrieval.sources import Source, base, open_source
from retrieval.sources.filesystem import mtime_ns
from tests.errors import raises
from tests.sources.conftest import PGM, Open, listed, only, put


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[str]:
    """A folder's URL in memory that no other test uses."""
    url = f"memory://{tmp_path.name}/my pics"
    yield url
    fsspec.filesystem("memory").rm(f"memory://{tmp_path.name}", recursive=True)


def fill(url: str, *keys: str, data: bytes = PGM) -> str:
    fsspec.filesystem("memory").pipe({f"{url}/{key}": data for key in keys})
    return url


def test_lists_and_reads(bucket: str, opened: Open) -> None:
    fill(bucket, "b/2.png", "b/10.png", "a b/😺\n.JPG", "c.webp", data=b"12345")
    fill(bucket, "readme.txt", ".x.png", "b/.y/z.png", "b/.y.png")
    fsspec.filesystem("memory").mkdir(f"{bucket}/empty")
    for url in (bucket, f"{bucket}/"):
        source = opened(url, labels=True)
        assert (source.name, source.spec, source.whole) == ("my-pics", url, True)
        entries = list(source.entries())
        assert [(e.key, e.label) for e in entries] == [
            *(("a b/😺\n.JPG", "a b"), ("b/10.png", "b"), ("b/2.png", "b"), ("c.webp", None)),
        ]
        assert {(e.source, e.bytes, e.mtime_ns) for e in entries} == {("my-pics", 5, 0)}  # no time of change here
        with ThreadPoolExecutor(8) as threads:
            assert set(threads.map(lambda entry: entry.read(), entries * 20)) == {b"12345"}
        assert source.read("b/2.png") == b"12345"


names = st.text(st.characters(exclude_characters="/", codec="utf-8"), min_size=1, max_size=12).filter(
    lambda name: not name.startswith(".")
)


@hypothesis.settings(max_examples=30)
@given(st.sets(st.tuples(names, names), min_size=1, max_size=5))
def test_any_name_is_listed_and_read_by_its_key(pairs: set[tuple[str, str]]) -> None:
    files = {f"{parent}/{name}.png": b"%d" % number for number, (parent, name) in enumerate(sorted(pairs))}
    memory = fsspec.filesystem("memory")
    try:
        memory.pipe({f"/any/{key}": data for key, data in files.items()})
        source = open_source("memory://any", Settings(home=Path("unused")))
        assert {entry.key: entry.read() for entry in source.entries()} == files
        assert {key: source.read(key) for key in files} == files
    finally:
        memory.rm("/any", recursive=True)


def test_lists_lazily(bucket: str, opened: Open) -> None:
    entries = opened(fill(bucket, "a/1.png", "b/2.png")).entries()
    assert next(entries).key == "a/1.png"
    fill(bucket, "b/3.png")
    assert [entry.key for entry in entries] == ["b/2.png", "b/3.png"]


def test_a_folder_that_is_removed_meanwhile_is_gone(bucket: str, opened: Open) -> None:
    entries = opened(fill(bucket, "a.png", "b/c/1.png", "b/c/2.png", "z/3.png")).entries()
    assert next(entries).key == "a.png"
    fsspec.filesystem("memory").rm(f"{bucket}/b", recursive=True)
    assert [entry.key for entry in entries] == ["z/3.png"]


@pytest.mark.parametrize(
    "error", [PermissionError("Forbidden"), FileNotFoundError("b"), TimeoutError(), OSError(5, "broken")]
)
def test_a_folder_that_cannot_be_listed_is_never_taken_for_an_empty_one(
    bucket: str, opened: Open, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    real = MemoryFileSystem.ls

    def ls(self: MemoryFileSystem, path: str, **options: Any) -> Any:
        if path.endswith("/b"):
            raise error
        return real(self, path, **options)

    monkeypatch.setattr(MemoryFileSystem, "ls", ls)
    entries = opened(fill(bucket, "a.png", "b/1.png")).entries()
    assert next(entries).key == "a.png"
    with raises(SourceError, bucket, "/my pics/b"):
        list(entries)


def test_a_file_that_cannot_be_read_after_it_was_listed(
    bucket: str, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = only(opened(fill(bucket, "1.png", data=b"12345")))
    fill(bucket, "1.png", data=b"it has grown")
    assert entry.read() == b"it has grown"
    monkeypatch.setattr(base, "MAX_BYTES", 4)
    with raises(BadImage, "my-pics/1.png", "4 bytes"):
        entry.read()
    fsspec.filesystem("memory").rm(f"{bucket}/1.png")
    fill(bucket, "2.png")
    with raises(BadImage, "my-pics/1.png", "4 bytes"):  # as it was listed: not even asked for
        entry.read()
    monkeypatch.undo()
    with raises(BadImage, "my-pics/1.png", "no such file or folder"):
        entry.read()


@pytest.mark.parametrize(
    "key", ["../other.png", "a/../../other.png", ".h.png", "", "a", "a.txt", "gone.png", "a//b.png"]
)
def test_keys_are_never_trusted(bucket: str, opened: Open, key: str) -> None:
    fill(bucket.rpartition("/")[0], "other.png")
    fill(bucket, "a/1.png", ".h.png", "a.txt")
    with pytest.raises(BadImage):
        opened(bucket).read(key)


def test_nothing_to_find(bucket: str, opened: Open) -> None:
    with raises(SourceError, bucket, "no such file or folder"):
        listed(opened(bucket))
    with raises(SourceError, bucket, "2 files", ".png"):
        listed(opened(fill(bucket, "a.txt", "b/c.csv")))
    with raises(SourceError, f"{bucket}/a.csv", "Parquet", hint="folder"):
        listed(opened(fill(f"{bucket}/a.csv", "")))


@pytest.mark.parametrize(
    "url",
    [
        *("s3://AKIAEXAMPLE:hush@bucket/pics", "s3://AKIAEXAMPLE:hu/sh+=@bucket/pics", "ftp://me:hush@host:21/pics"),
        *("https://me:hush@host/x.zip", "simplecache::s3://me:hush@bucket/x.parquet", "sftp://:hush@host/pics"),
        *("https://host/x.zip?X-Amz-Signature=hush", "https://host/x.zip?a=1&sig=hush", "https://h/x?api_key=hush"),
        *("https://host/x.zip?X-Amz-Credential=hush&x=1", "abfs://box/pics?access_token=hush"),
    ],
)
def test_a_secret_in_a_url_is_refused_and_not_repeated(opened: Open, url: str) -> None:
    protocol = url.partition("::")[0].partition("://")[0]
    with raises(SourceError, protocol, "password", hint="AWS_ACCESS_KEY_ID") as caught:
        opened(url)
    assert "hush" not in str(caught.value)


def test_urls_that_hold_no_secret(opened: Open) -> None:
    for url in ("memory://a/b:c@d.zip", "memory://host:8080/a@b.zip", "memory://host/a.zip?versionId=3"):
        with raises(SourceError, url):
            listed(opened(url))


@pytest.mark.parametrize("url", ["s3://bucket/pics", "s3://bucket/x.zip", "s3://bucket/x.parquet"])
def test_a_protocol_whose_package_is_missing(opened: Open, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    with raises(SourceError, url, "pip install 'retrieval-images[s3]'"):
        opened(url)


@pytest.mark.parametrize("url", ["memory://x/list.txt", "memory://x/1.png", "memory://x/1.PNG/"])
def test_what_is_not_understood_by_url(opened: Open, url: str) -> None:
    with raises(SourceError, url, hint="folder"):
        opened(url)


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"LastModified": dt.datetime(2026, 1, 2, tzinfo=dt.UTC)}, 1_767_312_000 * 10**9),
        ({"last_modified": dt.datetime.fromisoformat("2026-01-02")}, 1_767_312_000 * 10**9),
        ({"mtime": 0.5}, 5 * 10**8),
        ({"mtime": None, "created": 7}, 0),
        ({"LastModified": "Fri"}, 0),
    ],
)
def test_times(info: dict[str, Any], expected: int) -> None:
    assert mtime_ns(info) == expected


class Web(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def web(tmp_path: Path, opened: Open) -> Iterator[Source]:
    """A folder on a web server that lists with links."""
    put(tmp_path / "pics", "1.png", "a/2.png", "notes.txt")
    handler = functools.partial(Web, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield opened(f"http://127.0.0.1:{server.server_port}/pics")
        finally:
            server.shutdown()
            thread.join(timeout=10)


def test_over_http_nothing_is_known_before_reading(web: Source) -> None:
    assert (web.name, web.whole) == ("pics", False)
    entries = list(web.entries())
    assert [(e.key, e.bytes, e.mtime_ns, e.read()) for e in entries] == [("1.png", 0, 0, PGM), ("a/2.png", 0, 0, PGM)]
    assert web.read("a/2.png") == PGM
    with raises(BadImage, "pics/gone.png", "no such file or folder"):
        web.read("gone.png")
