"""S3, on a real server on loopback: listing by pages, denied requests, vanished objects, no answer."""

import logging
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from retrieval.errors import BadImage, SourceError
from retrieval.sources import base, filesystem, remote
from tests.errors import raises
from tests.sources.conftest import PGM, Open, listed, only
from tests.sources.test_archive import pack

SECRET = "hush-hush"


class S3:
    """A local S3. `new` makes a bucket; keys and their contents go in by `put`."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.fs = s3fs.S3FileSystem(use_listings_cache=False)

    def new(self, name: str) -> str:
        self.fs.call_s3("create_bucket", Bucket=name)
        return name

    def put(self, bucket: str, *keys: str, data: bytes = PGM) -> None:
        for key in keys:
            self.fs.call_s3("put_object", Bucket=bucket, Key=key, Body=data)

    def allow(self, requests: int) -> None:
        """Answer that many more requests, then deny all others."""
        httpx.post(f"{self.endpoint}/moto-api/reset-auth", content=str(requests)).raise_for_status()


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield S3(f"http://{host}:{port}")
        s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


@pytest.fixture
def denying(s3: S3) -> Iterator[S3]:
    """The same server, for tests that close it."""
    yield s3
    s3.allow(10**9)


KEYS = ["a b/1.png", "a b/2.png", "a b/#?&+%20é.png", "a.png", "😺/deep/er/x.JPG"]


@pytest.mark.parametrize("page", [2, 1000])
def test_lists_and_reads(s3: S3, opened: Open, monkeypatch: pytest.MonkeyPatch, page: int) -> None:
    monkeypatch.setattr(remote, "PAGE", page)
    bucket = s3.new(f"reads-{page}")
    s3.put(bucket, *(f"my pics/{key}" for key in KEYS), data=b"12345")
    s3.put(
        bucket, "my pics/notes.txt", "my pics/.x.png", "my pics/.y/z.png", "my pics/a b/", "my pics2/no.png", "my pics"
    )
    for url in (f"s3://{bucket}/my pics", f"s3://{bucket}/my pics/"):
        source = opened(url, labels=True)
        assert (source.name, source.spec, source.whole) == ("my-pics", url, True)
        entries = list(source.entries())
        assert [e.key for e in entries] == sorted(KEYS, key=str.encode)
        assert {e.key: e.label for e in entries}["a b/1.png"] == "a b"
        assert {(e.source, e.bytes) for e in entries} == {("my-pics", 5)}
        changed = s3.fs.info(f"{bucket}/my pics/a.png")["LastModified"]
        assert next(e for e in entries if e.key == "a.png").mtime_ns == int(changed.timestamp()) * 10**9
        assert {source.read(key) for key in KEYS} == {b"12345"}
        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(lambda entry: entry.read(), entries)) == [b"12345"] * len(KEYS)


def test_a_whole_bucket(s3: S3, opened: Open) -> None:
    s3.put(s3.new("whole-bucket"), "1.png", "a/2.png", ".trash/3.png")
    source = opened("s3://whole-bucket")
    assert (source.name, listed(source), source.read("a/2.png")) == ("whole-bucket", ["1.png", "a/2.png"], PGM)


def test_the_first_is_read_before_the_last_is_listed(s3: S3, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAGE", 2)
    s3.put(s3.new("streams"), *(f"{number}.png" for number in range(5)))
    entries = opened("s3://streams").entries()
    assert next(entries).read() == PGM
    s3.put("streams", "9.png")
    s3.fs.call_s3("delete_object", Bucket="streams", Key="4.png")
    assert [entry.key for entry in entries] == ["1.png", "2.png", "3.png", "9.png"]


def test_a_page_that_is_denied_ends_the_listing_with_an_error(
    denying: S3, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "PAGE", 2)
    denying.put(denying.new("denied"), *(f"{number}.png" for number in range(5)))
    entries = opened("s3://denied").entries()
    first = next(entries)
    denying.allow(0)
    with raises(SourceError, "s3://denied", "Access Key") as caught:
        list(entries)
    assert SECRET not in str(caught.value)
    with raises(BadImage, "denied/0.png"):
        first.read()
    for url in ("s3://denied/x.zip", "s3://denied/x.parquet"):
        with raises(SourceError, url):
            opened(url)


def test_what_is_not_there(s3: S3, opened: Open) -> None:
    s3.put(s3.new("thereis"), "texts/a.txt", "x.png")
    for url, named in (
        ("s3://no-such-bucket/pics", "The specified bucket does not exist"),
        ("s3://thereis/pics", "no files"),
        ("s3://thereis/texts", "1 file"),
        ("s3://thereis/x.zip", "no such file or folder"),
        ("s3://", "s3://"),
    ):
        with raises(SourceError, url, named):
            listed(opened(url))


def test_an_object_that_vanishes_or_changes_after_it_was_listed(
    s3: S3, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3.put(s3.new("vanishing"), "1.png", data=b"12345")
    entry = only(opened("s3://vanishing"))
    s3.put("vanishing", "1.png", data=b"it has grown")
    assert entry.read() == b"it has grown"
    with monkeypatch.context() as patch:
        patch.setattr(base, "MAX_BYTES", 4)
        with raises(BadImage, "vanishing/1.png", "4 bytes"):
            entry.read()
    s3.put("vanishing", "1.png", data=b"")
    with raises(BadImage, "vanishing/1.png"):
        entry.read()
    assert only(opened("s3://vanishing")).read() == b""
    s3.fs.call_s3("delete_object", Bucket="vanishing", Key="1.png")
    with raises(BadImage, "vanishing/1.png", "The specified key does not exist"):
        entry.read()


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "parquet"])
def test_files_of_many_images(s3: S3, tmp_path: Path, opened: Open, kind: str) -> None:
    contents = {f"x/{number}.png": b"%d" % number for number in range(50)}
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = tmp_path / "pics.parquet"
        rows = [{"bytes": data, "path": key} for key, data in contents.items()]
        pq.write_table(pa.table({"image": rows}), path, row_group_size=20)
    else:
        path = pack(tmp_path, kind, contents)
    bucket = s3.new(f"files-{kind}")
    s3.put(bucket, f"deep/{path.name}", data=path.read_bytes())
    source = opened(f"s3://{bucket}/deep/{path.name}")
    entries = list(source.entries())
    with ThreadPoolExecutor(4) as threads:
        assert dict(zip(listed(source), threads.map(lambda entry: entry.read(), entries), strict=True)) == contents
    assert source.read("x/7.png") == b"7"
    assert all(entry.mtime_ns > 0 for entry in entries)


def test_a_server_that_never_answers(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*silent.getsockname()))
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.setattr(filesystem, "SECONDS", 1.0)
        s3fs.S3FileSystem.clear_instance_cache()  # or it would go on with the endpoint it knows
        try:
            source = opened("s3://bucket/pics")
            with raises(SourceError, "s3://bucket/pics", "1 s"):
                listed(source)
            with raises(BadImage, "pics/1.png", "1 s"):
                source.read("1.png")
        finally:
            s3fs.S3FileSystem.clear_instance_cache()
