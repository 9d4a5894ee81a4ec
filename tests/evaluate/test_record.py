"""The verdict of an evaluation is stored with the alias's collection, on both engines."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieval.errors import Locked, ModelError, NoCollection
from retrieval.evaluate.job import record_verdict
from retrieval.schema.verdict import COPIES, Verdict
from retrieval.store.base import resolve
from tests.errors import raises
from tests.reindex.encoders import Shades
from tests.reindex.places import Place, make_pictures
from tests.store.conftest import clean, numbers

SHADES = Shades(1)
LABELLED = Verdict("P@5", 0.4, "2026-11-29T00:00:00+00:00", 60, "PCA", 0.3, helped=True)
UNLABELLED = Verdict(COPIES, 0.4, "2026-11-29T00:00:00+00:00", 60, "PCA", 0.3)


@pytest.fixture(params=["embedded", "server"])
def place(request: pytest.FixtureRequest, own_home: Path, tmp_path: Path) -> Iterator[Place]:
    """Sixty images, stored by SHADES."""
    url = None if request.param == "embedded" else request.getfixturevalue("qdrant_url")
    made = Place(own_home, url, f"test-verdict-{next(numbers)}")
    made.ingest(make_pictures(tmp_path / "pictures"), SHADES)
    yield made
    if url:
        clean(url)


def stored(place: Place) -> Verdict | None:
    with place.opened() as store:
        return store.metadata(resolve(store, place.alias)).verdict


def test_the_last_verdict_with_labels_is_kept(place: Place) -> None:
    record_verdict(place.settings, place.alias, SHADES.fingerprint, UNLABELLED)
    assert stored(place) == UNLABELLED
    record_verdict(place.settings, place.alias, SHADES.fingerprint, LABELLED)
    assert stored(place) == LABELLED
    record_verdict(place.settings, place.alias, SHADES.fingerprint, UNLABELLED)
    assert stored(place) == LABELLED


def test_only_of_the_collections_own_model(place: Place) -> None:
    before = stored(place)
    with raises(ModelError, SHADES.fingerprint[:8], hint="retrieval reindex"):
        record_verdict(place.settings, place.alias, Shades(2).fingerprint, LABELLED)
    with raises(NoCollection, "'others'", hint="retrieval ingest"):
        record_verdict(place.settings, "others", SHADES.fingerprint, LABELLED)
    assert stored(place) == before


def test_not_while_a_job_writes(place: Place) -> None:
    before = stored(place)
    with place.opened() as store, store.lock(place.alias), pytest.raises(Locked):
        record_verdict(place.settings, place.alias, SHADES.fingerprint, LABELLED)
    assert stored(place) == before
