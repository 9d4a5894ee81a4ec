"""Images at which a decoder crashes or hangs: they are refused by name, and the others are stored."""

import shutil
from pathlib import Path

import pytest

from tests.errors import mentions
from tests.ingest.jobs import Place, make_digits

DEADLY = """
import os, signal, time
from retrieval.sources import read
read.DECODE_SECONDS = 4.0
whole = read.decode
def decode(data, where, *rest):
    if b"deadly" in data:
        os.kill(os.getpid(), signal.SIGKILL)
    if b"endless" in data:
        time.sleep(3600)
    return whole(data, where, *rest)
read.decode = decode
"""
"""Run by every Python process at its start: a decoder with two defects, which crash its process or make it hang."""


@pytest.fixture
def deadly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The processes that this test starts, and those that they start, have the two defects."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(DEADLY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))


def spoil(folder: Path, words: dict[str, str]) -> None:
    """Images that any other decoder accepts, with a word after the end of each."""
    some = next(folder.glob("*/*.png")).read_bytes()
    for number, (name, word) in enumerate(words.items()):
        (folder / name).write_bytes(some + word.encode() + bytes([number]))


@pytest.mark.usefixtures("deadly")
@pytest.mark.parametrize(
    ("place", "kind", "count"),
    [("embedded", "folder", 12), ("embedded", "archive", 300), ("server", "folder", 300)],
    indirect=["place"],
)
def test_a_crash_costs_its_image_and_nothing_else(place: Place, tmp_path: Path, kind: str, count: int) -> None:
    folder = make_digits(tmp_path / "digits", count)
    words = {"deadly-1.png": "deadly", "deadly-2.png": "deadly"} | ({"endless.png": "endless"} if count < 100 else {})
    spoil(folder, words)
    source = folder if kind == "folder" else Path(shutil.make_archive(str(tmp_path / "digits"), "zip", folder))
    first = place.ingest(source, "--json")
    assert first.code == 3, first.err
    reasons = {item["path"]: item["reason"] for item in first.object["refused"]}
    assert reasons.keys() == words.keys()
    for name, word in words.items():
        assert mentions(reasons[name], "process" if word == "deadly" else "4 s")
    assert (first.object["encoded"], place.stored) == (count, count)
    (ledger,) = (place.home / "refused").glob("*.jsonl")
    assert ledger.read_text().count('"lasting": true') == 2
    if count < 100:
        (folder / "endless.png").unlink()
        assert place.ingest(source, "--json").object["encoded"] == 0, "nothing deadly is opened again"


@pytest.mark.long
@pytest.mark.usefixtures("deadly")
@pytest.mark.parametrize("place", ["server"], indirect=True)
def test_a_worker_of_ray_dies_of_an_image_once(place: Place, tmp_path: Path) -> None:
    """Ray restarts the worker with the same page, again and again: the second time it decodes in a separate process."""
    folder = make_digits(tmp_path / "digits", 40)
    spoil(folder, {"deadly.png": "deadly"})
    done = place.ingest(folder, "--json", "--runner", "ray", "--workers", 1)
    assert done.code == 3, done.err
    assert [item["path"] for item in done.object["refused"]] == ["deadly.png"]
    assert mentions(done.object["refused"][0]["reason"], "process")
    assert place.stored == 40
