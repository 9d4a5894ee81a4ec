"""The cache of drawn images: bounded, and never the reason of a failure."""

import os
from pathlib import Path

from retrieval.util.files import disk_bytes
from retrieval.web.renditions import ENDS, KEPT_SHARE, Renditions

FILE = bytes(20_000) + ENDS["jpg"]


def name(number: int) -> str:
    return f"{number:064x}"[::-1]


def test_what_was_put_is_there_and_the_oldest_go_first(tmp_path: Path) -> None:
    limit = 20 * 24_576
    cache = Renditions(tmp_path / "cache", limit)
    assert cache.get(name(0), 256, "jpg") is None
    for number in range(40):
        cache.put(name(number), 256, "jpg", FILE)
        (file,) = (tmp_path / "cache").glob(f"??/{name(number)}*")
        os.utime(file, (number, number))
        assert cache.get(name(0), 256, "jpg") == FILE, "used, so not the oldest"
    assert KEPT_SHARE * limit / 2 < disk_bytes(tmp_path / "cache") <= limit
    kept = [number for number in range(1, 40) if cache.get(name(number), 256, "jpg")]
    assert kept == list(range(kept[0], 40))
    assert cache.get(name(39), 2048, "jpg") is None


def test_a_file_that_was_cut_off_is_not_shown(tmp_path: Path) -> None:
    cache = Renditions(tmp_path, 10**9)
    cache.put(name(1), 256, "jpg", FILE)
    (file,) = tmp_path.glob("??/*.jpg")
    file.write_bytes(FILE[:-100])
    assert cache.get(name(1), 256, "jpg") is None


def test_a_folder_that_cannot_be_made_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = Renditions(tmp_path / "file" / "cache", 10**9)
    cache.put(name(1), 256, "jpg", FILE)
    assert cache.get(name(1), 256, "jpg") is None
