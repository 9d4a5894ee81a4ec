"""Downloads from a real server on loopback: resumed, checked, limited, from one mirror to the next."""

import gzip
import hashlib
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from retrieval.config import Settings
from retrieval.errors import SourceError
from retrieval.sources import dataset, download, known_datasets, open_source
from tests.errors import raises
from tests.sources.mirrors import Mirrors, serving
from tests.sources.test_dataset import make

CONTENT = os.urandom(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def mirrors() -> Iterator[Mirrors]:
    with serving(CONTENT) as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new" / "folder" / "file.gz"


def fetch(mirrors: Mirrors, target: Path, *names: str) -> None:
    download.download([mirrors.url(name) for name in names], target, MD5)


def left(target: Path) -> set[str]:
    return {path.name for path in target.parent.iterdir()} - {"file.gz.lock"}


def test_whole_file_with_progress(mirrors: Mirrors, target: Path) -> None:
    seen: list[tuple[str, int, int | None]] = []
    download.download([mirrors.url("good")], target, MD5, lambda *step: seen.append(step))
    assert target.read_bytes() == CONTENT
    assert left(target) == {"file.gz"}
    assert mirrors.asked == [("good", None)]
    assert seen[-1] == ("file.gz", len(CONTENT), len(CONTENT))
    assert [have for _, have, _ in seen] == sorted({have for _, have, _ in seen})


def test_a_connection_that_breaks_is_resumed(mirrors: Mirrors, target: Path) -> None:
    third = len(CONTENT) // 3
    fetch(mirrors, target, "breaks", "good")
    assert target.read_bytes() == CONTENT
    assert mirrors.asked == [("breaks", None), ("good", f"bytes={third}-")]


def test_a_later_run_resumes_the_download(mirrors: Mirrors, target: Path) -> None:
    with raises(SourceError, "127.0.0.1", "peer closed connection"):
        fetch(mirrors, target, "breaks")
    assert left(target) == {"file.gz.part"}
    have = target.with_name("file.gz.part").stat().st_size
    assert have == 200_000  # two rounds of a third each
    fetch(mirrors, target, "good")
    assert target.read_bytes() == CONTENT
    assert mirrors.asked[-1] == ("good", f"bytes={have}-")


@pytest.mark.parametrize("mirror", ["no-range", "unknown-length", "good"])
@pytest.mark.parametrize("have", [CONTENT[:1000], b"rubbish", CONTENT, CONTENT + b"more"])
def test_any_existing_part_file(mirrors: Mirrors, target: Path, mirror: str, have: bytes) -> None:
    target.parent.mkdir(parents=True)
    target.with_name("file.gz.part").write_bytes(have)
    fetch(mirrors, target, mirror)
    assert target.read_bytes() == CONTENT
    assert left(target) == {"file.gz"}


@pytest.mark.parametrize("bad", ["corrupt", "missing", "wrong-range"])
def test_the_next_mirror_serves(mirrors: Mirrors, target: Path, bad: str) -> None:
    target.parent.mkdir(parents=True)
    target.with_name("file.gz.part").write_bytes(CONTENT[:10])
    fetch(mirrors, target, bad, "good")
    assert target.read_bytes() == CONTENT
    assert [name for name, _ in mirrors.asked] == [bad, "good"]


def test_the_first_mirror_is_down(mirrors: Mirrors, target: Path) -> None:
    download.download([f"http://127.0.0.1:{unused_port()}/file.gz", mirrors.url("good")], target, MD5)
    assert target.read_bytes() == CONTENT


def test_a_wrong_checksum_never_becomes_the_file(mirrors: Mirrors, target: Path) -> None:
    with raises(SourceError, "127.0.0.1", "MD5", MD5):
        fetch(mirrors, target, "corrupt")
    assert left(target) == set()


def test_every_mirror_fails(mirrors: Mirrors, target: Path) -> None:
    dead = f"http://127.0.0.1:{unused_port()}/file.gz"
    with raises(SourceError, "127.0.0.1", "HTTP 404", "refused"):
        download.download([mirrors.url("missing"), dead], target, MD5)


def test_size_and_time_are_bounded(mirrors: Mirrors, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(download, "MAX_DOWNLOAD_BYTES", 100_000)
        with raises(SourceError, "127.0.0.1", "0 MiB"):
            fetch(mirrors, target, "unknown-length")
    assert left(target) == set()
    monkeypatch.setattr(download, "TOTAL_SECONDS", 0.0)
    with raises(SourceError, "127.0.0.1", "0 s"):
        fetch(mirrors, target, "good")


def test_another_process_has_the_lock(mirrors: Mirrors, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TOTAL_SECONDS", 0.1)
    target.parent.mkdir(parents=True)
    with FileLock(f"{target}.lock"), raises(SourceError, target, "lock", "0 s"):
        fetch(mirrors, target, "good")
    target.write_bytes(b"brought by the other")
    fetch(mirrors, target, "good")
    assert mirrors.asked == []


def test_nowhere_to_store(mirrors: Mirrors, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with raises(SourceError, tmp_path / "file" / "x", "Not a directory"):
        fetch(mirrors, tmp_path / "file" / "x" / "y.gz")


def test_a_data_set_is_downloaded_once(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """`mnist` from the mirrors, here a server that gives the same small file for each name of a kind."""
    published = make(tmp_path / "published", count=1)
    images = gzip.compress((published / "t10k-images-idx3-ubyte").read_bytes())
    labels = gzip.compress((published / "t10k-labels-idx1-ubyte").read_bytes())
    seen: list[str] = []
    with serving(images) as first, serving(labels) as second:
        named = known_datasets.KnownDataset(
            "mnist",
            (f"{first.base}/good/", f"{second.base}/good/"),
            {
                "t10k-images-idx3-ubyte.gz": hashlib.md5(images).hexdigest(),
                "t10k-labels-idx1-ubyte.gz": hashlib.md5(labels).hexdigest(),
            },
        )
        monkeypatch.setattr(dataset, "SYSTEM_DATA", tmp_path / "system")
        monkeypatch.setitem(known_datasets.DATASETS, "mnist", named)
        source = open_source("mnist:test", settings, progress=lambda name, *_: seen.append(name))
        asked = len(first.asked) + len(second.asked)
    assert [entry.key for entry in source.entries()] == ["00000"]
    assert asked == 3  # the labels' checksum is wrong on the first mirror
    assert re.fullmatch(r"(t10k-images.*gz )+(t10k-labels.*gz ?)+", " ".join(seen))
    again = open_source("mnist:test", settings)  # the servers are gone
    assert again.read("00000") == source.read("00000")
    assert (settings.downloads / "mnist" / "t10k-images-idx3-ubyte.gz").read_bytes() == images


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
