"""What people have on disk outlives the program that wrote it: the homes and collections of earlier releases.

`make` wrote each archive with that release. They are unpacked at another place, as a disk that was moved.
"""

import contextlib
import csv
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval.ingest.ledger import Ledger
from tests.cli.conftest import Call
from tests.store import servers

RELEASES = sorted(path.name.partition(".")[0] for path in Path(__file__).parent.glob("*.tar.xz"))
IMAGES = 48
DATA_FILTER = getattr(tarfile, "data_filter", lambda member, path: member)
"""Python 3.11.2, which Debian has, knows none."""


@pytest.fixture(params=RELEASES)
def release(request: pytest.FixtureRequest, tmp_path: Path, own_home: Path) -> Path:
    """A folder `pictures`, `about.csv` and a home with an embedded collection, as that release left them."""
    with tarfile.open(Path(__file__).parent / f"{request.param}.tar.xz") as archive:
        archive.extraction_filter = DATA_FILTER
        archive.extractall(tmp_path)
    assert own_home.is_dir()
    return tmp_path


@pytest.fixture(params=["embedded", "server"])
def location(request: pytest.FixtureRequest, release: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the release's collection is kept, open for use; refused images are known there."""
    with contextlib.ExitStack() as stack:
        where = str(release / "home" / "embedded")
        if request.param == "server":
            request.getfixturevalue("qdrant_binary")
            where = stack.enter_context(servers.running(release / "qdrant"))
            monkeypatch.setenv("QDRANT_URL", where)
        (old, *_) = sorted((release / "home" / "refused").iterdir())
        old.rename(Ledger(release / "home" / "refused", where, "images").path)  # its name follows from the place
        yield where


@pytest.fixture(autouse=True)
def niceness(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test run keeps its own."""
    monkeypatch.setattr(os, "nice", lambda by: by)


def captions(release: Path) -> dict[str, str]:
    with (release / "about.csv").open(newline="") as file:
        return {row["path"]: row["caption"] for row in csv.DictReader(file)}


def told(call: Call, release: Path) -> dict[str, str | None]:
    """The caption of every image, found by searching for a stored one."""
    hits = call("search", release / "pictures" / "rings" / "03.png", "-k", IMAGES, "--keep-copies", "--json").object
    return {hit["path"]: hit["caption"] for hit in hits["hits"] if "caption" in hit}


def test_a_home_of_that_release_is_opened_and_used(release: Path, location: str, call: Call) -> None:
    before = call("status", "--json").object
    assert (before["points"], before["location"]) == (IMAGES, location)
    assert before["public_url"] == "http://127.0.0.1:8123", "as `retrieval.toml` said"
    assert "reindex" in {job["job"] for job in call("jobs", "--json").objects}
    listed = {row["collection"]: row for row in call("collections", "--json").object["collections"]}
    assert len(listed) == 2
    assert listed[before["collection"]]["aliases"] == ["images"]

    found = call("search", release / "pictures" / "rings" / "03.png", "--json").object["hits"]
    assert len(found) == 5
    assert found[0]["label"] == "rings"
    said = told(call, release)
    assert said == captions(release)

    done = call("ingest", "pictures", "--labels", "folder", "--json")
    assert done.code == 3, done.err
    counts = {name: done.object[name] for name in ("found", "unchanged", "encoded", "failed", "deleted")}
    assert counts == {"found": IMAGES + 1, "unchanged": IMAGES, "encoded": 0, "failed": 1, "deleted": 0}
    assert "bars/broken.png" in done.err

    swapped = call("reindex", "--max-drop", "1", "--json")
    assert swapped.code == 3, swapped.err
    assert (swapped.object["outcome"], swapped.object["previous"]) == ("swapped", before["collection"])
    assert told(call, release) == said
    back = call("rollback", "--json").object
    assert (back["collection"], back["points"]) == (before["collection"], IMAGES)
    assert told(call, release) == said
