"""Tuning on a real server: measurements are right, the cheapest good index is chosen, a re-index applies it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from qdrant_client import models

from retrieval.config import Settings
from retrieval.errors import NoCollection, UsageError
from retrieval.reindex import tune as job
from retrieval.reindex import tune_candidates
from retrieval.reindex.tune import measure_recall, tune
from retrieval.reindex.tune_candidates import BUILDS, IndexMeasurement, choose_index, estimate_memory
from retrieval.schema.index_config import Layout
from retrieval.store import open_store
from retrieval.store.base import Store, resolve
from retrieval.store.qdrant.index_config import quantization_config
from tests.cli.conftest import Call, call, copy  # noqa: F401 - a fixture
from tests.errors import raises
from tests.ingest.conftest import digits, homes, model_home  # noqa: F401 - fixtures
from tests.ingest.jobs import Place
from tests.store.conftest import DIM, clean, codes, connected, meta, name, points  # noqa: F401 - a fixture

FLOAT = Layout(m=16)


def measured(layout: Layout, recall: float, p95: float) -> IndexMeasurement:
    return IndexMeasurement(layout, recall, p95 / 2, p95, estimate_memory(layout, 1000, 64), 1.0)


ROWS = [
    measured(Layout(exact=True), 1.0, 0.020),
    measured(FLOAT, 0.999, 0.002),
    measured(replace(FLOAT, int8=True, ef=32), 0.970, 0.001),
    measured(replace(FLOAT, int8=True), 0.995, 0.003),
    measured(replace(FLOAT, int8=True, ef=512), 0.998, 0.006),
    measured(replace(FLOAT, on_disk=True), 0.999, 0.004),
]


def test_the_cheapest_is_the_one_with_the_least_memory_that_is_good_enough() -> None:
    def chosen(least: float, limit: float = 0.025, *, on_disk: bool = False) -> IndexMeasurement | None:
        return choose_index(ROWS, least, limit, on_disk=on_disk)

    assert chosen(0.99) is ROWS[3]
    assert chosen(0.96) is ROWS[2]
    assert chosen(0.997) is ROWS[4]
    assert chosen(0.997, 0.005) is ROWS[1], "the smaller one is too slow"
    assert chosen(1.0) is ROWS[0]
    assert chosen(0.99, on_disk=True) is ROWS[5]
    assert chosen(1.0, 0.001) is None


def test_binary_codes_are_not_offered() -> None:
    made = [quantization_config(build) for build in BUILDS]
    assert {type(each) for each in made} == {type(None), models.ScalarQuantization}


def test_recall_is_fair_to_ties() -> None:
    assert measure_recall([[1, 2, 3, 3, 3], [1, 1, 1, 1, 9]], [3, 5]) == pytest.approx(0.9)


@pytest.fixture
def filled(
    qdrant_url: str,
    name: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[tuple[Store, str]]:
    """A collection of 1,200 embeddings with an alias of its own."""
    monkeypatch.setattr(tune_candidates, "EFS", (16, 64))
    monkeypatch.setattr(job, "QUERIES", 20)
    monkeypatch.setattr(job, "WARM", 2)
    with connected(qdrant_url) as store:
        store.create_collection(f"{name}-20261126t000000z-4f1c2a9b", meta())
        store.upsert(f"{name}-20261126t000000z-4f1c2a9b", points(codes(1200)))
        store.move_alias(name, f"{name}-20261126t000000z-4f1c2a9b")
        yield store, name
    clean(qdrant_url)


def test_each_index_is_measured_and_nothing_is_left(filled: tuple[Store, str]) -> None:
    store, alias = filled
    before, told = store.collections(), []
    rows = list(tune(store, alias, builds=BUILDS[:2], step=lambda what, done, total: told.append(what)))
    assert [str(row.layout) for row in rows] == [
        "exact",
        *(f"HNSW m=16 ef_construct=100{more}, ef={ef}" for more in ("", ", int8") for ef in (16, 64)),
    ]
    assert [row.recall for row in rows] == [1.0] * 5, "so few are compared one by one"
    assert all(0 < row.p50 <= row.p95 < 5 for row in rows)
    assert rows[0].memory == 1200 * DIM * 4
    assert {"copy", "index exact", "search exact"} <= set(told)
    assert store.collections() == before
    assert store.metadata(resolve(store, alias)).layout == Layout()


def test_a_run_that_fails_leaves_no_copy_and_one_that_was_killed_is_tidied_up(filled: tuple[Store, str]) -> None:
    store, alias = filled
    before = store.collections()
    killed = f"{alias}-20261126t010000z-4f1c2a9b"
    store.create_collection(killed, replace(meta(), state="trial"))

    def fail(what: str, done: int, total: int) -> None:
        if what.startswith("index HNSW"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(tune(store, alias, builds=BUILDS[:1], step=fail))
    assert store.collections() == before


def test_what_cannot_be_tuned(filled: tuple[Store, str], own_home: Path) -> None:
    store, alias = filled
    with pytest.raises(NoCollection):
        list(tune(store, f"{alias}-other", builds=BUILDS))
    few = f"{alias}few-20261126t000000z-4f1c2a9b"
    store.create_collection(few, meta())
    store.move_alias(f"{alias}few", few)
    with raises(UsageError, few, 0):
        list(tune(store, f"{alias}few", builds=BUILDS))
    with open_store(Settings(home=own_home)) as embedded, raises(UsageError, hint="QDRANT_URL"):
        list(tune(embedded, alias, builds=BUILDS))


@pytest.mark.long
def test_the_command_measures_and_applies(
    qdrant_url: str,
    model_home: Path,  # noqa: F811
    own_home: Path,
    digits: Path,  # noqa: F811
    call: Call,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tune_candidates, "EFS", (48,))
    monkeypatch.setattr(tune_candidates, "BUILDS", BUILDS[1:2])
    monkeypatch.setattr(job, "QUERIES", 20)
    place = Place(copy(model_home, own_home), qdrant_url, "test-tune")
    try:
        assert call("ingest", digits, *place.options()).code == 0
        before = place.points()
        any_speed = ("--max-p95", "100000")  # however busy this machine is
        said = call("tune", "--apply", "--json", *any_speed, *place.options())
        assert said.code == 0, said.err
        found, swapped = said.objects
        assert found["chosen"]["index"] == "exact", "of such short codes, a graph takes more memory than all of them"
        assert [row["index"] for row in found["measured"]] == ["exact", "HNSW m=16 ef_construct=100, int8, ef=48"]
        assert (swapped["outcome"], swapped["encoded"], swapped["copied"]) == ("swapped", 0, len(before))
        status = call("status", "--json", *place.options()).object
        assert status["collection"] == swapped["collection"]
        after = place.points()
        assert {id_: point.payload for id_, point in after.items()} == {i: p.payload for i, p in before.items()}
        nothing = call("tune", "--max-p95", "0.1", *place.options())
        assert nothing.code == 5
        assert "no index finds 0.99 of the five nearest" in nothing.err
    finally:
        clean(qdrant_url)
