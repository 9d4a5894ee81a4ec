"""Bad images: refused by name and reason, and the good ones beside them are not lost."""

import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from retrieval.images.decode import encode_png
from tests.cli.conftest import PICTURES, Call
from tests.conftest import made_once


def huge_png() -> bytes:
    """A valid PNG of 20,000×20,000 grey pixels, in less than a megabyte."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes(20_001) * 20_000, 9)
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.fixture(scope="session")
def bad_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four files that are no pictures. Not to be changed."""

    def make(folder: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (28, 28, 1), np.uint8)
        (folder / "truncated.png").write_bytes(encode_png(noise)[:300])
        (folder / "empty.png").write_bytes(b"")
        (folder / "huge.png").write_bytes(huge_png())
        (folder / "text.png").write_text("not a picture at all")

    return made_once(tmp_path_factory, "bad", make)


REASONS = {"truncated": "truncated", "empty": "empty", "huge": "pixels", "text": "PNG"}


def test_bad_images_are_refused_by_name_and_the_others_stored(
    trained_home: Path, folder: Path, bad_images: Path, call: Call
) -> None:
    shutil.copytree(bad_images, folder / "bad")
    done = call("ingest", folder, "--json")
    assert done.code == 3
    said = done.object
    assert (said["found"], said["encoded"], said["failed"]) == (PICTURES + 4, PICTURES, 4)
    refused = {item["path"]: item["reason"] for item in said["refused"]}
    assert refused.keys() == {f"bad/{name}.png" for name in REASONS}
    for name, reason in REASONS.items():
        assert reason in refused[f"bad/{name}.png"]
        assert f"refused: pictures/bad/{name}.png: {refused[f'bad/{name}.png']}\n" in done.err
    assert "Traceback" not in done.err
    assert call("status", "--json").object["points"] == PICTURES


@pytest.mark.parametrize("name", REASONS)
def test_a_bad_image_as_the_only_query(name: str, home: Path, bad_images: Path, call: Call) -> None:
    error = call("search", bad_images / f"{name}.png").error()
    assert f"{name}.png" in error
    assert REASONS[name] in error


def test_a_bad_image_among_the_queries(home: Path, pictures: Path, bad_images: Path, call: Call) -> None:
    good = next(pictures.glob("*/*.png"))
    done = call("search", bad_images / "text.png", good, "--json")
    assert done.code == 3
    bad, found = done.objects
    assert bad["hits"] == []
    assert "PNG" in bad["error"]
    assert len(found["hits"]) == 5
    assert f"refused: {bad_images}/text.png: " in done.err


def test_bad_images_only(home: Path, bad_images: Path, call: Call) -> None:
    for job in ("train", "search"):
        call(job, bad_images).error(1, 4)
