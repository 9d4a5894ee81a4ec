"""The gate: models that must not go live, each stopped by its row, with the live collection as it was."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import GateRefused
from retrieval.records import Hit
from retrieval.reindex.job import reindex
from retrieval.reindex.options import Options
from retrieval.reindex.outcome import Outcome
from retrieval.store.base import Store, resolve
from tests.reindex.conftest import NEW, OLD
from tests.reindex.encoders import Constant, Fickle, Noise, NotFinite, Shades, WrongDimension
from tests.reindex.places import Place


@pytest.mark.parametrize(
    ("encoder", "row"),
    [
        (Constant(), r"spread: 0, at least 0\.02"),
        (NotFinite(), "the code is not finite"),
        (WrongDimension(), r"float32\[8\], but the collection takes float32\[4\]"),
        (Fickle(), r"finds itself: 0, at least 99%"),
        (Noise(), r"P@5: 0\.\d+ \(live: 1\), at most 2 points lower"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Shades) else "",
)
def test_a_bad_model_does_not_go_live(store: Store, place: Place, root: Path, encoder: Shades, row: str) -> None:
    live = resolve(store, place.alias)
    seen: list[Outcome] = []
    with pytest.raises(GateRefused, match=row) as refusal:
        reindex(
            store, place.alias, lambda sources: encoder, place.settings, step=lambda name, outcome: seen.append(outcome)
        )
    assert refusal.value.exit_code == 5
    bad = seen[-1].collection
    assert str(refusal.value).startswith(f"the gate refused {bad}: ")
    assert str(refusal.value).endswith(f"{live} is live as before")
    assert any(check.passed is False for check in seen[-1].gate)
    assert place.mine(store) == [live, bad], "it stays, to be looked at"
    assert store.metadata(bad).state == "refused"
    place.answers(store, root, [OLD])
    done = reindex(store, place.alias, lambda sources: NEW, place.settings)
    assert done.dropped == [bad]
    assert place.mine(store) == [live, done.collection]


def test_the_live_score_is_the_yardstick(store: Store, place: Place, root: Path) -> None:
    reindex(store, place.alias, lambda sources: Noise(), place.settings, Options(max_drop=1))
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

    def query(self: Store, collection: str, codes: np.ndarray, k: int, where: Sequence[object] | None = None) -> object:
        found: list[list[Hit]] = honest(self, collection, codes, k + 1, where)  # type: ignore[arg-type]
        return [[*hits[:1], *hits[2:]][:k] for hits in found]

    with monkeypatch.context() as patch:
        patch.setattr(type(store), "query", query)
        with pytest.raises(GateRefused, match=r"recall at 5: 0\.8, at least 0\.98 \(--min-recall\)"):
            reindex(store, place.alias, lambda sources: NEW, place.settings)
        reindex(store, place.alias, lambda sources: NEW, place.settings, Options(min_recall=0.75))
    place.answers(store, root, [NEW])


def test_images_that_are_gone(store: Store, place: Place, root: Path) -> None:
    for file in sorted(root.rglob("*.png"))[:7]:
        file.unlink()
    with pytest.raises(GateRefused, match=r"images kept: 53 \(live: 60\), at most 10% fewer"):
        reindex(store, place.alias, lambda sources: NEW, place.settings)
    reindex(store, place.alias, lambda sources: NEW, place.settings, Options(max_delete=0.2))
    place.answers(store, root, [NEW])


def test_points_that_another_program_took_away(store: Store, place: Place) -> None:
    def step(name: str, outcome: Outcome) -> None:
        if name == "settle":
            store.delete(outcome.collection, [next(store.scroll(outcome.collection))[0].id])

    with pytest.raises(GateRefused, match=r"images: 59, 60 listed and not refused"):
        reindex(store, place.alias, lambda sources: NEW, place.settings, step=step)


def test_refused_images_are_not_missed(store: Store, place: Place, root: Path) -> None:
    (root / "broken.png").write_bytes(b"no picture")
    done = reindex(store, place.alias, lambda sources: NEW, place.settings)
    assert done.counts is not None
    assert (done.state, done.counts.found, done.counts.failed) == ("swapped", 61, 1)
