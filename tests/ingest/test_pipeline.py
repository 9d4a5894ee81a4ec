"""What the pipeline writes and reports between batches, and what it records of its sources."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from jaxtyping import Float32, UInt8

from retrieval.errors import Locked, RetrievalError
from retrieval.ingest import batches, pipeline
from retrieval.ingest.batches import Batch
from retrieval.ingest.context import IngestRun
from retrieval.ingest.job import ingest
from retrieval.ingest.ledger import Ledger
from retrieval.ingest.options import IngestOptions
from retrieval.ingest.pipeline import check_failures, record_sources, store_batch, warm_up_for_many
from retrieval.ingest.plan import Page, ToOpen
from retrieval.ingest.summary import IngestSummary
from retrieval.model.lazy_encoder import FEW
from retrieval.sources import Entry
from retrieval.sources.folder import File, Folder
from retrieval.sources.read import Refused
from retrieval.store.base import Store, resolve
from tests.errors import raises
from tests.ingest.conftest import ALIAS, Quadrants, Run, by_path


def told(store: Store, encoder: Quadrants, root: Path, options: IngestOptions) -> list[tuple[int, int, bool]]:
    """At each report: images encoded, points stored, and whether time has passed."""
    heard: list[tuple[int, int, bool]] = []
    last, began = 0.0, time.monotonic()

    def report(summary: IngestSummary) -> None:
        nonlocal last
        goes_on = last < summary.seconds <= time.monotonic() - began
        heard.append((summary.encoded, store.count(resolve(store, ALIAS)), goes_on))
        last = summary.seconds

    ingest(store, encoder, [Folder("root", root)], ALIAS, options, ledgers=root.parent / "refused", report=report)
    return heard


def test_what_is_said_to_be_done_is_stored(store: Store, encoder: Quadrants, root: Path) -> None:
    assert told(store, encoder, root, IngestOptions(batch=12)) == [
        (12, 12, True),
        (24, 24, True),
        *[(30, 30, True)] * 2,
    ]


def test_of_larger_images_a_batch_has_fewer(
    store: Store, encoder: Quadrants, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert batches.BATCH_BYTES // (256 * 256 * 3) > 256
    monkeypatch.setattr(batches, "BATCH_BYTES", 11 * 8 * 8)
    assert [done for done, _, _ in told(store, encoder, root, IngestOptions())] == [11, 22, 30, 30]


def test_a_batch_goes_by_both_sides_of_an_image(store: Store, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wide(Quadrants):
        config = replace(Quadrants.config, image_size=(8, 16))

        def encode(self, images: UInt8[np.ndarray, "n h w c"]) -> Float32[np.ndarray, "n d"]:
            return super().encode(images[:, :, ::2])

    monkeypatch.setattr(batches, "BATCH_BYTES", 11 * 8 * 16)
    assert [done for done, _, _ in told(store, Wide(), root, IngestOptions())] == [11, 22, 30, 30]


def test_at_least_one_and_at_most_so_many(
    store: Store, encoder: Quadrants, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "BATCH", 20)
    assert [done for done, _, _ in told(store, encoder, root, IngestOptions())] == [20, 30, 30]
    monkeypatch.setattr(batches, "BATCH_BYTES", 1)
    assert [done for done, _, _ in told(store, encoder, root, IngestOptions(force=True))] == [*range(1, 31), 30]


def test_where_a_source_lies_is_remembered(store: Store, encoder: Quadrants, root: Path, run: Run) -> None:
    run()
    collection = resolve(store, ALIAS)
    assert store.metadata(collection).sources == {"root": str(root)}
    assert store.metadata(collection).labelled == ()
    single = File("root", root / "a" / "00.png")
    record_sources(store, collection, [single])
    assert store.metadata(collection).sources == {"root": str(root)}, "a file of it does not take its place"
    record_sources(store, collection, [File("one", root / "a" / "00.png")])
    assert store.metadata(collection).sources == {"root": str(root), "one": single.spec}
    elsewhere = root.rename(root.with_name("elsewhere"))
    record_sources(store, collection, [Folder("root", elsewhere, labels=True), Folder("b", elsewhere, labels=True)])
    meta = store.metadata(collection)
    assert meta.sources == {"root": str(elsewhere), "one": single.spec, "b": str(elsewhere)}
    assert meta.labelled == ("b", "root")
    record_sources(store, collection, [Folder("root", elsewhere)])
    assert store.metadata(collection) == meta, "what was labelled stays so"


def test_what_is_known_is_not_written_again(
    store: Store, root: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()
    monkeypatch.setattr(type(store), "set_metadata", lambda *arguments: pytest.fail("written"))
    record_sources(store, resolve(store, ALIAS), [Folder("root", root)])


def test_jax_starts_once_more_images_are_to_be_opened_than_numpy_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[object] = []
    monkeypatch.setattr(pipeline, "warm_up", lambda encoder: order.append("warm"))
    entry = ToOpen.of(Entry("root", "a.png", 0, 0, None, bytes), "0b2e", {}, held=False)
    known, few = [Refused(entry, "known", again=True)], [Refused(entry, "known", again=True), *[entry] * FEW]
    pages: list[Page] = [known, [], few, [entry], [entry]]  # type: ignore[list-item]
    for page in warm_up_for_many(pages, Quadrants()):
        order.append(page)
    assert order == [known, [], few, "warm", [entry], [entry]]


def test_nothing_is_written_once_the_lock_is_lost(store: Store, run: Run, tmp_path: Path) -> None:
    run()
    collection = resolve(store, ALIAS)
    before = by_path(store)
    point = before["a/00.png"]
    batch = Batch([point], {point.id: {"source": "gone"}})

    class Lost:
        holder = ""

        def check(self) -> None:
            raise Locked("taken over")

    ledger, summary = Ledger(tmp_path, store.location, ALIAS), IngestSummary(ALIAS, collection)
    with pytest.raises(Locked):
        store_batch(IngestRun(store, collection, [], IngestOptions(), ledger, summary), Lost(), batch)
    assert by_path(store)["a/00.png"].payload == point.payload
    assert summary == IngestSummary(ALIAS, collection)


@pytest.mark.parametrize(("most", "stops"), [(1, True), (2, False)])
def test_more_refusals_than_allowed(most: int, stops: bool) -> None:
    old, first, second = (
        Refused(Entry("cats", key, 0, 0, None, bytes), f"bad {key}", again=key == "old") for key in ("old", "a", "b")
    )
    summary = IngestSummary(ALIAS, None, refused=[old, first, second], newly_refused=2)
    if not stops:
        check_failures(summary, IngestOptions(max_failures=most))
        return
    with raises(RetrievalError, "2 images", 1, "cats/a", "bad a", option="max_failures", hint=""):
        check_failures(summary, IngestOptions(max_failures=most))


def test_refusals_are_counted_once_each(run: Run, root: Path) -> None:
    (root / "bad.png").write_bytes(b"no picture")
    assert [(s.failed, s.newly_refused, s.encoded) for s in (run(), run())] == [(1, 1, 30), (1, 0, 0)]
