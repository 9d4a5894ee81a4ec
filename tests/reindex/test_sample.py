"""The gate's sample: which points, which pixels, how many copies of each."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from retrieval.images.decode import decode
from retrieval.reindex import sample as sample_module
from retrieval.reindex.job import reindex
from retrieval.reindex.options import ReindexOptions
from retrieval.reindex.sample import Copies, GateSample, measure_copies_found
from retrieval.schema.image_shape import ImageShape
from retrieval.sources import Entry
from retrieval.sources.arrays import ImageArray, read_image_array
from retrieval.sources.folder import Folder
from retrieval.store.base import Store, resolve
from tests.reindex.conftest import NEW, OLD
from tests.reindex.encoders import SIDE, Shades
from tests.reindex.places import PICTURES, Place


@pytest.fixture
def place(root: Path, own_home: Path) -> Place:
    """The embedded engine, since the engine makes no difference here."""
    made = Place(own_home, None, "images")
    made.ingest(root, OLD)
    return made


@pytest.fixture
def both(store: Store, place: Place) -> tuple[str, str]:
    """The live collection, and a new one of the same images."""
    made = reindex(store, place.alias, lambda sources: NEW, place.settings, ReindexOptions(dry_run=True))
    return resolve(store, place.alias), made.collection


def sampled(store: Store, both: tuple[str, str], root: Path) -> GateSample:
    live, candidate = both
    return GateSample.of(store, candidate, live, [Folder("pictures", root)])


def test_shared_is_what_both_hold_with_the_same_content(store: Store, both: tuple[str, str], root: Path) -> None:
    live, candidate = both
    sample = sampled(store, both, root)
    assert [p.id for p in sample.shared] == [p.id for p in sample.points]
    gone, changed, *_ = next(store.scroll(live))
    store.delete(live, [gone.id])
    store.set_payload(live, {changed.id: {**changed.payload, "sha256": "0" * 64}})
    sample = sampled(store, both, root)
    assert len(sample.points) == store.count(candidate) == PICTURES
    assert {p.id for p in sample.points} - {p.id for p in sample.shared} == {gone.id, changed.id}
    np.testing.assert_array_equal(sample.codes, [p.code for p in next(store.scroll(candidate, codes=True))])


def test_what_is_read_is_the_points_own_image(store: Store, both: tuple[str, str], root: Path) -> None:
    gone, changed = sorted(root.rglob("*.png"))[:2]
    other = sorted(root.rglob("*.png"))[2].read_bytes()
    gone.unlink()
    changed.write_bytes(other)
    sample = sampled(store, both, root)
    rows, pixels = sample.read(NEW.config)
    assert len(rows) == len(pixels) == PICTURES - 2
    for row, found in zip(rows, pixels, strict=True):
        path = str(sample.points[row].payload["path"])
        np.testing.assert_array_equal(found, decode((root / path).read_bytes(), path, ImageShape(SIDE, SIDE, 1)).pixels)
        np.testing.assert_allclose(NEW.encode(found[None])[0], sample.codes[row], atol=1e-6)
    assert len(replace(sample, sources=[Folder("others", root)]).read(NEW.config).rows) == 0


def test_of_large_images_there_are_fewer(
    store: Store, both: tuple[str, str], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = sampled(store, both, root)
    monkeypatch.setattr(sample_module, "PIXEL_BYTES", 10 * SIDE * SIDE)
    assert sample.read(NEW.config).rows.tolist() == list(range(10))
    tall = replace(NEW.config, image_size=(2 * SIDE, SIDE))
    assert sample.read(tall).pixels.shape == (5, 2 * SIDE, SIDE, 1)
    assert sample.read(replace(NEW.config, channels=3)).pixels.shape == (3, SIDE, SIDE, 3)
    monkeypatch.setattr(sample_module, "PIXEL_BYTES", 1)
    assert len(sample.read(NEW.config).rows) == 1


def test_few_images_have_more_copies_each_in_the_largest_size(
    store: Store, both: tuple[str, str], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = sampled(store, both, root)
    contents = [str(point.payload["sha256"]) for point in sample.shared]
    # the distortion itself has its own tests, and is slow to compile
    monkeypatch.setattr(sample_module, "distorted_copies", lambda images, seed: images ^ (seed + 1))
    whole = sample.read(NEW.config).pixels
    eight = sample.make_copies(NEW.config, OLD.config)
    assert eight.contents == contents * 8
    np.testing.assert_array_equal(eight.pixels, np.concatenate([whole ^ (seed + 1) for seed in range(8)]))
    for size, views in ((3 * PICTURES - 1, 2), (3 * PICTURES, 3), (1, 1)):
        monkeypatch.setattr(sample_module, "SIZE", size)
        assert sample.make_copies(NEW.config).contents == contents * views
    largest = (replace(NEW.config, image_size=(9, 12)), replace(NEW.config, image_size=(11, 8), channels=3))
    assert sample.make_copies(*largest).pixels.shape[1:] == (11, 12, 3)
    shapes = []

    def read(entries: list[Entry], shape: ImageShape) -> ImageArray:
        shapes.append(shape)
        return read_image_array(entries, shape)

    monkeypatch.setattr(sample_module, "read_image_array", read)
    sample.make_copies(replace(NEW.config, fit="crop"), OLD.config)
    assert shapes == [ImageShape(SIDE, SIDE, 1, "crop")]
    none = replace(sample, shared=[]).make_copies(NEW.config)
    assert (none.contents, none.pixels.shape) == ([], (0, SIDE, SIDE, 1))


def test_the_share_of_copies_that_find_their_original(store: Store, both: tuple[str, str], root: Path) -> None:
    _, candidate = both
    sample = sampled(store, both, root)
    rows, pixels = sample.read(NEW.config)
    contents = [str(sample.points[row].payload["sha256"]) for row in rows]
    whole = Copies(pixels, contents)
    assert measure_copies_found(store, candidate, NEW, Copies(pixels[:0], []), 1) is None
    assert measure_copies_found(store, candidate, NEW, whole, 1) == 1
    swapped = Copies(pixels, [*contents[:15][::-1], *contents[15:]])  # all but the middle one of fifteen are another's
    assert measure_copies_found(store, candidate, NEW, swapped, 1) == pytest.approx(46 / 60)
    assert measure_copies_found(store, candidate, NEW, swapped, PICTURES) == 1
    wide = Shades(2)
    wide.config = replace(NEW.config, image_size=(SIDE, 2 * SIDE))
    doubled = Copies(pixels.repeat(2, axis=2), contents)  # each model resizes these itself
    assert measure_copies_found(store, candidate, NEW, doubled, 1) == 1
    seen: list[tuple[int, ...]] = []
    encode = wide.encode
    wide.encode = lambda images: (seen.append(images.shape), encode(images))[1]  # type: ignore[method-assign, func-returns-value]
    measure_copies_found(store, candidate, wide, whole, 1)
    assert seen == [(PICTURES, SIDE, 2 * SIDE, 1)]
