"""Images of unsupported formats are counted and named; formats that Pillow always reads are supported."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from retrieval.errors import BadImage
from retrieval.sources.folder import Folder
from tests.cli.conftest import Call
from tests.errors import raises
from tests.images.samples import file, file_of, noise
from tests.ingest.jobs import Place

TAKEN = ("a.jpg", "b.avif", "jpeg", "avif")
PASSED = ["c.jp2", "d.ico", "e.SVG", "icon"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "mixed"
    (root / ".hidden").mkdir(parents=True)
    contents = {
        "a.jpg": file(noise(30, 30), "JPEG"),
        "b.avif": file(noise(31, 31), "AVIF"),
        "c.jp2": file(noise(32, 32), "JPEG2000"),
        "d.ico": file_of(Image.new("RGB", (32, 32)), "ICO"),
        "e.SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "jpeg": file(noise(33, 33), "JPEG"),
        "avif": file(noise(34, 34), "AVIF"),
        "icon": file_of(Image.new("RGB", (32, 32)), "ICO"),
        "Makefile": b"all:\n\ttrue\n",
        "notes.txt": b"no image",
        ".hidden/f.ico": b"",
    }
    for name, data in contents.items():
        (root / name).write_bytes(data)
    return root


@pytest.mark.parametrize("place", ["embedded"], indirect=True)
def test_counted_and_named(place: Place, call: Call, folder: Path, tmp_path: Path) -> None:
    done = call("ingest", folder, "--json", *place.options())
    assert (done.code, done.object["found"], place.stored) == (0, 4, 4)
    assert done.object["passed_over"] == {"count": 4, "first": [f"mixed/{name}" for name in PASSED]}
    assert {point.payload["path"] for point in place.points().values()} == set(TAKEN)
    (beside,) = (place.home / "refused").glob("*.passed-over.json")
    assert json.loads(beside.read_text()) == {"mixed": {"count": 4, "first": PASSED}}
    said = "4 files skipped, in formats that are not supported: mixed/c.jp2, mixed/d.ico, mixed/e.SVG, mixed/icon"
    for option in ("--dry-run", "--workers=1"):
        assert said in call("ingest", folder, option, *place.options()).out.splitlines()
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", folder)
    packed = call("ingest", archive, "--json", *place.options()).object["passed_over"]
    assert (packed["count"], sorted(packed["first"])) == (3, [f"packed/{name}" for name in PASSED[:3]])
    assert json.loads(beside.read_text()).keys() == {"mixed", "packed"}
    for name in PASSED:
        (folder / name).unlink()
    assert call("ingest", folder, "--json", *place.options()).object["passed_over"] == {"count": 0, "first": []}
    assert json.loads(beside.read_text()).keys() == {"packed"}


def test_only_so_many_are_named(tmp_path: Path) -> None:
    for number in range(120):
        (tmp_path / f"{number:03d}.ico").touch()
    (tmp_path / "a.png").touch()
    source = Folder("many", tmp_path)
    for _ in range(2):  # a listing begins anew
        assert len(list(source.entries())) == 1
        assert (source.passed_over.count, len(source.passed_over.first)) == (120, 100)


def test_of_files_without_a_suffix_only_images_can_be_read(folder: Path) -> None:
    source = Folder("mixed", folder)
    assert source.read("jpeg") == (folder / "jpeg").read_bytes()
    for name in ("Makefile", "icon", "notes.txt", "../mixed/jpeg"):
        with raises(BadImage, f"mixed/{name}", folder):
            source.read(name)
