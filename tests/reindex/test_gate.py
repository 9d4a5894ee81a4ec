"""The gate: models that must not go live are each stopped by one check, and the live collection is unchanged."""

import contextlib
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import GateRefused
from retrieval.reindex.job import reindex
from retrieval.reindex.options import ReindexOptions
from retrieval.reindex.outcome import ReindexOutcome
from retrieval.schema.records import Hit, Point
from retrieval.schema.verdict import Verdict
from retrieval.store.base import Store, resolve
from tests.errors import mentions, raises
from tests.reindex.conftest import NEW, OLD
from tests.reindex.encoders import Blank, Constant, Crowded, Fickle, Noise, NotFinite, OneWay, Shades, WrongDimension
from tests.reindex.places import Place


@pytest.mark.parametrize(
    ("encoder", "named"),
    [
        (Blank(), ["spread: 0", "0.02", "effective rank: 0", 2]),
        (Constant(), ["spread: 0", "0.02"]),
        (NotFinite(), ["finite"]),
        (WrongDimension(), ["float32[8]", "float32[4]"]),
        (Fickle(), ["finds itself: 0", "99%"]),
        (Noise(), ["P@5", "live: 1", "2 points"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Shades) else "",
)
def test_a_bad_model_does_not_go_live(
    store: Store, place: Place, root: Path, encoder: Shades, named: list[object]
) -> None:
    live = resolve(store, place.alias)
    seen: list[ReindexOutcome] = []
    with raises(GateRefused, live, *named) as refusal:
        reindex(
            store, place.alias, lambda sources: encoder, place.settings, step=lambda name, outcome: seen.append(outcome)
        )
    assert refusal.value.exit_code == 5
    bad = seen[-1].collection
    assert mentions(refusal.value.message, bad)
    assert any(check.passed is False for check in seen[-1].gate)
    assert place.mine(store) == [live, bad], "it stays, to be looked at"
    assert store.metadata(bad).state == "refused"
    place.answers(store, root, [OLD])
    done = reindex(store, place.alias, lambda sources: NEW, place.settings)
    assert done.dropped == [bad]
    assert place.mine(store) == [live, done.collection]


def test_the_live_score_is_the_yardstick(store: Store, place: Place, root: Path) -> None:
    reindex(store, place.alias, lambda sources: Noise(), place.settings, ReindexOptions(max_drop=1))
    better = reindex(store, place.alias, lambda sources: NEW, place.settings)
    row = next(check for check in better.gate if check.name == "P@5")
    assert row.live is not None
    assert (row.value, row.passed) == (1.0, True)
    assert row.live < 0.7
    assert Noise().fingerprint != place.answers(store, root, [NEW]).model


def test_an_engine_that_misses_neighbours(
    store: Store, place: Place, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = type(store).query

    def query(
        self: Store,
        collection: str,
        codes: np.ndarray,
        k: int,
        where: Sequence[object] | None = None,
        **options: bool,
    ) -> object:
        found: list[list[Hit]] = honest(self, collection, codes, k + 1, where, **options)  # type: ignore[arg-type]
        return [[*hits[:1], *hits[2:]][:k] for hits in found]

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "query", query)
        with raises(GateRefused, "recall at 5: 0.8", "0.98", "--min-recall"):
            reindex(store, place.alias, lambda sources: NEW, place.settings)
        reindex(store, place.alias, lambda sources: NEW, place.settings, ReindexOptions(min_recall=0.75))
    place.answers(store, root, [NEW])


@pytest.mark.parametrize(("shift", "stops"), [(0.0005, False), (0.002, True)])
def test_one_code_of_sixty_that_is_not_its_images(store: Store, place: Place, shift: float, stops: bool) -> None:
    def step(name: str, outcome: ReindexOutcome) -> None:
        if name == "settle":
            point = next(store.scroll(outcome.collection, codes=True))[0]
            assert point.code is not None
            moved = point.code + np.array([shift, 0, 0, 0], np.float32)
            store.upsert(outcome.collection, [Point(point.id, moved, point.payload)])

    refused = raises(GateRefused, "finds itself: 0.9833", "99% of 60")
    with refused if stops else contextlib.nullcontext():
        reindex(store, place.alias, lambda sources: NEW, place.settings, step=step)


def test_a_model_that_hardly_tells_images_apart(store: Store, place: Place) -> None:
    """Each check fails for its own reason: nearly equal embeddings, or embeddings that differ in one direction only."""
    with raises(GateRefused, "spread", "0.02") as refusal:
        reindex(store, place.alias, lambda sources: Crowded(), place.settings)
    assert not mentions(refusal.value.message, "effective rank")
    with raises(GateRefused, "effective rank", 2) as refusal:
        reindex(store, place.alias, lambda sources: OneWay(), place.settings)
    assert not mentions(refusal.value.message, "spread")


def test_what_was_measured_is_kept_with_the_collection(store: Store, place: Place) -> None:
    done = reindex(store, place.alias, lambda sources: NEW, place.settings)
    rows = {row.name: row for row in done.gate}
    assert list(rows) == [
        *("images", "images kept", "finds itself", "recall at 5", "spread", "effective rank", "copies found", "P@5")
    ]
    assert [rows["images"].value, rows["images kept"].value, rows["images kept"].live] == [60, 60, 60]
    assert rows["finds itself"].limit == "at least 99% of 60"
    assert rows["recall at 5"].limit == "at least 0.98 (--min-recall)"
    assert (rows["P@5"].value, rows["P@5"].live, rows["P@5"].passed) == (1, 1, True)
    assert (rows["copies found"].value, rows["copies found"].passed) == (None, None), "the old model is not here"
    assert store.metadata(done.collection).evaluation == {
        row.name.replace(" ", "_"): round(row.value, 5) for row in done.gate if row.value is not None
    }
    codes = np.array([p.code for page in store.scroll(done.collection, codes=True) for p in page])
    lengths, off = np.linalg.norm(codes, axis=1), np.linalg.norm(codes - codes.mean(axis=0), axis=1)
    assert rows["spread"].value == pytest.approx(np.sqrt((off**2).mean() / (lengths**2).mean()), rel=1e-4)


def test_the_verdict_is_the_models(store: Store, place: Place) -> None:
    """Ingest and reindex measure P@5; the same model keeps what an evaluation found."""
    done = reindex(store, place.alias, lambda sources: NEW, place.settings)
    measured = store.metadata(done.collection).verdict
    assert measured is not None
    assert (measured.metric, measured.value, measured.helped) == ("P@5", 1, None)
    assert measured.queries == 60
    before = store.metadata(done.live).verdict
    assert before is not None
    assert (before.metric, before.value, before.baseline) == ("P@5", 1, None)
    evaluated = Verdict("P@5", 0.4, "2026-11-29T00:00:00+00:00", 60, "PCA", 0.3, helped=True)
    store.set_metadata(done.collection, dataclasses.replace(store.metadata(done.collection), verdict=evaluated))
    again = reindex(store, place.alias, lambda sources: NEW, place.settings)
    assert store.metadata(again.collection).verdict == evaluated
    other = reindex(store, place.alias, lambda sources: Shades(4), place.settings)
    assert store.metadata(other.collection).verdict != evaluated


def test_as_good_as_before_is_good_enough(store: Store, place: Place) -> None:
    """Images without a label in the live collection count on neither side; the source's labels go to all."""
    live = resolve(store, place.alias)
    some = next(store.scroll(live, page=20))
    store.set_payload(live, {p.id: {k: v for k, v in p.payload.items() if k != "label"} for p in some})
    done = reindex(store, place.alias, lambda sources: NEW, place.settings, ReindexOptions(max_drop=0))
    rows = {check.name: (check.value, check.live) for check in done.gate}
    assert (done.state, rows["P@5"]) == ("swapped", (1, 1))
    assert all(p.payload["label"] for page in store.scroll(done.collection) for p in page)


def test_two_images_are_too_few_to_ask_whether_they_spread(place: Place, root: Path) -> None:
    for file in sorted(root.rglob("*.png"))[2:]:
        file.unlink()
    with place.opened() as store:
        done = reindex(store, place.alias, lambda sources: Constant(), place.settings, ReindexOptions(max_delete=1))
    rows = {row.name: row.passed for row in done.gate}
    assert (rows["spread"], rows["effective rank"], rows["finds itself"]) == (None, None, True)


def test_images_that_are_gone(store: Store, place: Place, root: Path) -> None:
    for file in sorted(root.rglob("*.png"))[:7]:
        file.unlink()
    with raises(GateRefused, "images kept: 53", "live: 60", "10%"):
        reindex(store, place.alias, lambda sources: NEW, place.settings)
    reindex(store, place.alias, lambda sources: NEW, place.settings, ReindexOptions(max_delete=0.2))
    place.answers(store, root, [NEW])


def test_points_that_another_program_took_away(store: Store, place: Place) -> None:
    def step(name: str, outcome: ReindexOutcome) -> None:
        if name == "settle":
            store.delete(outcome.collection, [next(store.scroll(outcome.collection))[0].id])

    with raises(GateRefused, "images: 59", 60):
        reindex(store, place.alias, lambda sources: NEW, place.settings, step=step)


def test_refused_images_are_not_missed(store: Store, place: Place, root: Path) -> None:
    (root / "broken.png").write_bytes(b"no picture")
    done = reindex(store, place.alias, lambda sources: NEW, place.settings)
    assert done.counts is not None
    assert (done.state, done.counts.found, done.counts.failed) == ("swapped", 61, 1)
