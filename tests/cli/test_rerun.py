"""A second ingest does only what is new: by size and time, then by content, then by encoding."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from retrieval.images.decode import decode, encode_png
from retrieval.schema.image_shape import ImageShape
from tests.cli.conftest import PICTURES, Call, points

Counts = dict[str, int]


@pytest.fixture
def known(home: Path, folder: Path, call: Call) -> Path:
    """The folder, once everything in it has been ingested as it lies there now."""
    call("ingest", folder, "--json")
    return folder


def counts(call: Call, folder: Path) -> Counts:
    done = call("ingest", folder, "--json")
    assert done.code == 0, done.err
    return {name: done.object[name] for name in ("found", "encoded", "unchanged", "copied", "failed")}


def expected(**changes: int) -> Counts:
    return {"found": PICTURES, "encoded": 0, "unchanged": PICTURES, "copied": 0, "failed": 0, **changes}


def test_nothing_new(known: Path, home: Path, call: Call) -> None:
    before = points(home)
    assert counts(call, known) == expected()
    after = points(home)
    assert {id_: p.payload for id_, p in after.items()} == {id_: p.payload for id_, p in before.items()}


def test_another_root_is_the_same_images(home: Path, folder: Path, call: Call) -> None:
    assert counts(call, folder) == expected()
    assert len(points(home)) == PICTURES


def test_a_touched_file_gets_a_new_payload_only(known: Path, home: Path, call: Call) -> None:
    file = next(known.glob("*/*.png"))
    before = by_path(home, known, file)
    os.utime(file, ns=(0, 1_700_000_000_123_456_789))
    assert counts(call, known) == expected()
    after = by_path(home, known, file)
    assert after.payload["mtime_ns"] == 1_700_000_000_123_456_789
    assert after.payload["label"] == before.payload["label"]
    assert np.array_equal(after.code, before.code)


def test_a_changed_file_is_encoded(known: Path, home: Path, call: Call) -> None:
    file = next(known.glob("*/*.png"))
    before = by_path(home, known, file)
    turned = decode(file.read_bytes(), "it", ImageShape(28, 28, 1)).pixels[::-1]
    file.write_bytes(encode_png(np.ascontiguousarray(turned)))
    assert counts(call, known) == expected(encoded=1, unchanged=PICTURES - 1)
    after = by_path(home, known, file)
    assert after.id == before.id
    assert not np.allclose(after.code, before.code)
    assert after.payload["sha256"] != before.payload["sha256"]


def test_the_same_content_under_a_new_key_is_copied(known: Path, home: Path, call: Call) -> None:
    file = next(known.glob("*/*.png"))
    shutil.copy(file, known / "again.png")
    assert counts(call, known) == expected(found=PICTURES + 1, copied=1)
    assert np.array_equal(by_path(home, known, known / "again.png").code, by_path(home, known, file).code)
    assert len(points(home)) == PICTURES + 1


def test_a_run_without_labels_keeps_them(known: Path, home: Path, call: Call) -> None:
    file = next(known.glob("*/*.png"))
    os.utime(file, ns=(0, 0))
    counts(call, known)
    assert by_path(home, known, file).payload["label"] == file.parent.name


def test_two_names_are_two_sources(known: Path, home: Path, call: Call) -> None:
    said = call("ingest", known, "--name", "others", "--json").object
    assert (said["encoded"], said["copied"], said["unchanged"]) == (0, PICTURES, 0)
    assert len(points(home)) == 2 * PICTURES


def by_path(home: Path, folder: Path, file: Path):  # type: ignore[no-untyped-def]
    (found,) = [p for p in points(home).values() if p.payload["path"] == file.relative_to(folder).as_posix()]
    return found
