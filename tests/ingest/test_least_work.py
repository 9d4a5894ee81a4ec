"""Only what is new or changed is opened; only what is unknown is encoded."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.images.decode import decode
from retrieval.ingest.plan import is_same_file
from retrieval.schema.image_shape import ImageShape
from retrieval.sources import Entry
from retrieval.sources.read import ReadResult, load_one
from retrieval.store.base import Store
from tests.ingest.conftest import SIDE, Quadrants, Run, by_path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of the images that were opened."""
    keys: list[str] = []

    def load(fetch: Callable[[], bytes], where: str, shape: ImageShape) -> ReadResult:
        keys.append(where.removeprefix("root/"))
        return load_one(fetch, where, shape)

    monkeypatch.setattr("retrieval.sources.read.load_one", load)
    return keys


def test_codes_and_payloads_are_those_of_the_files(run: Run, store: Store, root: Path, encoder: Quadrants) -> None:
    summary = run(labels=True)
    assert (summary.found, summary.encoded, summary.new, summary.listed) == (30, 30, 30, True)
    points = by_path(store)
    assert len(points) == 30
    for key, point in points.items():
        pixels = decode((root / key).read_bytes(), key, ImageShape(SIDE, SIDE, 1)).pixels
        assert point.code is not None
        np.testing.assert_allclose(point.code, Quadrants().encode(pixels[None])[0], atol=1e-6)
        assert point.payload["label"] == key[0]
        assert point.payload["bytes"] == (root / key).stat().st_size
        assert next(iter(point.payload)) == "label"


def test_where_a_source_knows_no_time_only_the_content_can_tell() -> None:
    old = {"bytes": 5, "mtime_ns": 0}
    assert not is_same_file(Entry("root", "a.png", 5, 0, None, bytes), old)
    assert is_same_file(Entry("root", "a.png", 5, 7, None, bytes), {"bytes": 5, "mtime_ns": 7})


def test_all_pages_are_counted(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.ingest.plan.PAGE", 7)
    summary = run()
    assert (summary.found, summary.new, summary.encoded) == (30, 30, 30)


@pytest.mark.parametrize(
    "options", [{}, {"labels": True}, {"public_url": "http://127.0.0.1:8000"}, {"labels": True, "prune": True}], ids=str
)
def test_a_second_run_opens_encodes_and_writes_nothing_and_asks_for_few_fields(
    run: Run,
    store: Store,
    encoder: Quadrants,
    opened: list[str],
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
) -> None:
    run(**options)
    assert (len(opened), encoder.encoded) == (30, 30)
    opened.clear()

    def never(*_: object) -> None:
        raise AssertionError("a run without changes writes nothing, and reads no whole payloads")

    for method in ("upsert", "set_payload", "retrieve"):
        monkeypatch.setattr(store, method, never)
    summary = run(**options)
    assert (summary.found, summary.unchanged, opened, encoder.encoded) == (30, 30, [], 30)


def test_one_new_file_is_one_encoding(run: Run, root: Path, encoder: Quadrants, opened: list[str]) -> None:
    run()
    opened.clear()
    shutil.copy(root / "a" / "00.png", root / "a" / "copy.png")
    (root / "b" / "new.png").write_bytes((root / "a" / "00.png").read_bytes() + b"\0")  # the same pixels, other bytes
    summary = run()
    assert (summary.unchanged, summary.copied, summary.encoded) == (30, 1, 1)
    assert sorted(opened) == ["a/copy.png", "b/new.png"]
    assert encoder.encoded == 31


def test_copies_within_one_run_are_encoded_once(
    run: Run, root: Path, store: Store, encoder: Quadrants, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        shutil.copy(root / "a" / "00.png", root / "c" / f"copy{number}.png")
    summary = run(batch=8)  # the copies are spread over several batches, some of them not yet stored
    assert (summary.encoded, summary.copied, encoder.encoded) == (30, 50, 30)
    codes = [point.code for key, point in by_path(store).items() if "copy" in key or key == "a/00.png"]
    assert len(codes) == 51
    assert np.ptp(np.stack([code for code in codes if code is not None]), axis=0).max() == 0


def test_force_encodes_again(run: Run, encoder: Quadrants) -> None:
    run()
    summary = run(force=True)
    assert (summary.encoded, summary.unchanged, encoder.encoded) == (30, 0, 60)


def test_a_label_or_a_field_changes_the_payload_and_opens_nothing(
    run: Run, store: Store, opened: list[str], encoder: Quadrants
) -> None:
    run()
    opened.clear()
    summary = run(labels=True, metadata={("root", "a/00.png"): {"weight": 2.5}, ("root", "nowhere.png"): {"weight": 1}})
    assert (summary.unchanged, summary.described, opened, encoder.encoded) == (30, 1, [], 30)
    points = by_path(store)
    assert {point.payload["label"] for point in points.values()} == {"a", "b", "c"}
    assert points["a/00.png"].payload["weight"] == 2.5
    run()  # without labels and fields: those stored are kept
    assert by_path(store)["a/00.png"].payload == points["a/00.png"].payload


def test_a_changed_file_keeps_what_the_user_said(run: Run, store: Store, root: Path) -> None:
    run(labels=True, metadata={("root", "a/00.png"): {"weight": 2.5}})
    (root / "a" / "00.png").write_bytes((root / "b" / "01.png").read_bytes())
    os.utime(root / "a" / "00.png", ns=(1, 1))
    summary = run()
    assert (summary.changed, summary.copied, summary.unchanged) == (1, 1, 29)
    points = by_path(store)
    assert (points["a/00.png"].payload["label"], points["a/00.png"].payload["weight"]) == ("a", 2.5)
    assert points["a/00.png"].payload["sha256"] == points["b/01.png"].payload["sha256"]
    np.testing.assert_array_equal(points["a/00.png"].code, points["b/01.png"].code)


def test_a_dry_run_opens_and_writes_nothing(run: Run, store: Store, root: Path, opened: list[str]) -> None:
    summary = run(dry_run=True)
    assert (summary.new, summary.collection, store.collections(), opened) == (30, None, [], [])
    run()
    opened.clear()
    (root / "a" / "00.png").unlink()
    os.utime(root / "b" / "01.png", ns=(1, 1))
    summary = run(dry_run=True, prune=True)
    assert (summary.new, summary.changed, summary.unchanged, summary.deleted) == (0, 1, 28, 1)
    assert summary.gone == ["root/a/00.png"]
    assert (len(by_path(store)), opened) == (30, [])


def test_nothing_changed_means_no_jax() -> None:
    code = "import sys, retrieval.ingest, retrieval.model.saved_models, retrieval.store; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"
