"""The contract of `Store`, tested on both engines: collections, names, reading and writing points."""

import dataclasses

import numpy as np
import pytest

from retrieval.errors import BadCode, ModelError, NoCollection, StoreError, UsageError
from retrieval.schema.filters import Filter, Match
from retrieval.schema.records import Point, point_id
from retrieval.schema.verdict import Verdict
from retrieval.store.base import CollectionHealth, Store, require_model, resolve
from retrieval.store.naming import find_unused, list_family, next_name, time_of
from retrieval.store.validation import split_points
from tests.errors import raises
from tests.store.conftest import codes, meta, points

ABSENT = point_id("cats", "absent.png")


def test_metadata_comes_back_and_can_be_replaced(store: Store, name: str) -> None:
    store.create_collection(name, meta())
    assert store.metadata(name) == meta()
    for scores in ({"p@5": 0.9, "by_label": {"1": 0.8}}, {"p@5": 0.5}):
        evaluated = dataclasses.replace(meta(), evaluation=scores, sources={"dogs": "elsewhere"})
        store.set_metadata(name, evaluated)
        assert store.metadata(name) == evaluated


def test_a_verdict_is_stored_and_collections_of_before_have_none(store: Store, name: str) -> None:
    assert "verdict" not in meta().to_json()
    store.create_collection(name, meta())
    assert store.metadata(name).verdict is None
    verdict = Verdict("P@5", 0.31, "2026-11-29T00:00:00+00:00", 100, "PCA", 0.25, helped=True)
    store.set_metadata(name, dataclasses.replace(meta(), verdict=verdict))
    assert store.metadata(name).verdict == verdict
    assert "0.31" in str(store.metadata(name).weakness)


def test_metadata_cannot_claim_another_model(store: Store, name: str) -> None:
    store.create_collection(name, meta())
    with raises(StoreError, name, "model", "4f1c2a9b", "00000000", hint=""):
        store.set_metadata(name, meta(model="00000000"))


def test_codes_of_another_model_are_refused(store: Store, name: str) -> None:
    store.create_collection(name, meta(model="4f1c2a9b" * 8))
    require_model(store, name, "4f1c2a9b" * 8)
    with raises(ModelError, name, "4f1c2a9b", "4f1c2a9c", hint="retrieval reindex --model 4f1c2a9c"):
        require_model(store, name, "4f1c2a9c" * 8)


def test_the_hint_for_an_alias_without_a_collection(store: Store, name: str) -> None:
    with raises(NoCollection, f"'{name}'", hint=f"retrieval ingest SOURCE --alias {name}"):
        resolve(store, name)
    if "images" not in store.aliases():
        with raises(NoCollection, "'images'", hint="retrieval ingest SOURCE") as caught:
            resolve(store, "images")
        assert "--alias" not in caught.value.hint


@pytest.mark.parametrize(
    ("dim", "count", "sizes"),
    [
        (8, 1100, [512, 512, 76]),
        (8, 512, [512]),
        (8, 0, []),
        (2**20, 2, [1, 1]),
        (10_000, 45, [20, 20, 5]),  # a code of 10,000 numbers takes about 200 kB of JSON
    ],
)
def test_a_write_is_split_into_batches(dim: int, count: int, sizes: list[int]) -> None:
    written = points(codes(count, dim=1))
    found = list(split_points(written, dim))
    assert [len(batch) for batch in found] == sizes
    assert [point.id for batch in found for point in batch] == [point.id for point in written]


def test_a_name_can_be_taken_only_once(store: Store, name: str) -> None:
    store.create_collection(name, meta())
    store.move_alias(f"{name}-alias", name)
    for taken in (name, f"{name}-alias"):
        with raises(StoreError, f"'{taken}'", hint=""):
            store.create_collection(taken, meta())


@pytest.mark.parametrize("bad", ["", "../up", "a/b", ".hidden", "with space", "x" * 201])
def test_a_name_that_is_no_folder_name_is_refused(store: Store, name: str, bad: str) -> None:
    with raises(UsageError, repr(bad), hint="200"):
        store.create_collection(bad, meta())
    store.create_collection(name, meta())
    with raises(UsageError, repr(bad), hint="200"):
        store.move_alias(bad, name)
    with raises(UsageError, repr(bad), hint="200"):
        store.lock(bad)


def test_alias_moves_from_one_collection_to_the_next(store: Store, name: str) -> None:
    alias = f"{name}-alias"
    with raises(NoCollection, f"'{alias}'", hint=f"retrieval ingest SOURCE --alias {alias}"):
        resolve(store, alias)
    for collection in (f"{name}-a", f"{name}-b"):
        store.create_collection(collection, meta())
        store.move_alias(alias, collection)
        assert resolve(store, alias) == collection
    store.move_alias(alias, f"{name}-b")
    assert store.aliases()[alias] == f"{name}-b"
    assert {f"{name}-a", f"{name}-b"} <= set(store.collections())


def test_alias_must_not_be_a_collections_name_nor_point_nowhere(store: Store, name: str) -> None:
    store.create_collection(name, meta())
    with raises(StoreError, f"'{name}'", hint="--alias"):
        store.move_alias(name, name)
    with raises(StoreError, f"'{name}'", hint="--alias"):
        resolve(store, name)
    with raises(NoCollection, f"'{name}-none'", hint="retrieval collections"):
        store.move_alias(f"{name}-alias", f"{name}-none")


def test_drop_refuses_while_an_alias_points_there(store: Store, name: str) -> None:
    store.create_collection(f"{name}-a", meta())
    store.create_collection(f"{name}-b", meta())
    store.move_alias(f"{name}-alias", f"{name}-a")
    with raises(StoreError, f"{name}-a", f"{name}-alias", hint=""):
        store.drop_collection(f"{name}-a")
    store.move_alias(f"{name}-alias", f"{name}-b")
    store.drop_collection(f"{name}-a")
    assert f"{name}-a" not in store.collections()
    assert resolve(store, f"{name}-alias") == f"{name}-b"
    with raises(NoCollection, f"{name}-a"):
        store.drop_collection(f"{name}-a")


def test_a_collection_that_is_not_there(store: Store, name: str) -> None:
    with raises(NoCollection, name):
        store.metadata(name)
    with raises(NoCollection, name):
        store.upsert(name, points(codes(1)))
    with raises(NoCollection, name):
        store.count(name)


def test_upsert_is_idempotent_and_reads_back(store: Store, name: str) -> None:
    store.create_collection(name, meta())
    written = points(codes(1200))
    for _ in range(2):
        store.upsert(name, written)
        assert store.count(name) == 1200
    found = store.retrieve(name, [*(p.id for p in written), ABSENT], codes=True)
    assert found.keys() == {p.id for p in written}
    for point in written:
        assert found[point.id].payload == point.payload
        np.testing.assert_array_equal(found[point.id].code, point.code)
    assert store.retrieve(name, [written[0].id])[written[0].id].code is None
    assert store.retrieve(name, []) == {}
    some = store.retrieve_fields(name, [*(p.id for p in written), ABSENT], ["path", "label", "absent"])
    assert some == {p.id: {k: v for k, v in p.payload.items() if k in ("path", "label")} for p in written}
    assert store.retrieve_fields(name, [], ["path"]) == {}
    store.upsert(name, [])
    store.check()


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (np.full(8, np.nan, np.float32), ["finite"]),
        (np.full(8, np.inf, np.float32), ["finite"]),
        (np.zeros(7, np.float32), ["float32[7]", "float32[8]"]),
        (np.zeros(8, np.float64), ["float64[8]", "float32[8]"]),
        (None, ["no code", "float32[8]"]),
    ],
)
def test_a_bad_code_is_refused_before_anything_is_written(
    store: Store, name: str, bad: np.ndarray | None, named: list[str]
) -> None:
    store.create_collection(name, meta())
    good = points(codes(1100))  # the bad one would be in the third batch
    with raises(BadCode, "cats/bad.png", *named):
        store.upsert(name, [*good, Point(ABSENT, bad, {"source": "cats", "path": "bad.png"})])
    assert store.count(name) == 0


def test_set_payload_replaces_the_whole_payload_and_keeps_the_code(store: Store, name: str) -> None:
    store.create_collection(name, meta())
    written = points(codes(3))
    store.upsert(name, written)
    store.set_payload(name, {written[0].id: {"source": "dogs"}, written[1].id: {"path": "b.png", "width": 28}})
    found = store.retrieve(name, [p.id for p in written], codes=True)
    assert [found[p.id].payload for p in written] == [
        {"source": "dogs"},
        {"path": "b.png", "width": 28},
        written[2].payload,
    ]
    np.testing.assert_array_equal(found[written[0].id].code, written[0].code)
    store.set_payload(name, {})
    with raises(StoreError, ABSENT):
        store.set_payload(name, {ABSENT: {"source": "dogs"}})


def test_a_point_without_a_payload_has_an_empty_one(store: Store, name: str) -> None:
    store.create_collection(name, meta())
    store.upsert(name, [Point(ABSENT, codes(1)[0], {})])
    assert store.retrieve(name, [ABSENT])[ABSENT].payload == {}
    assert store.retrieve_fields(name, [ABSENT], ["path"]) == {ABSENT: {}}
    assert [point.payload for page in store.scroll(name) for point in page] == [{}]
    assert [hit.payload for hit in store.query(name, codes(1), 1)[0]] == [{}]


def test_delete_takes_ids_that_are_not_there(store: Store, name: str) -> None:
    store.create_collection(name, meta())
    written = points(codes(5))
    store.upsert(name, written)
    store.delete(name, [written[0].id, written[3].id, ABSENT])
    store.delete(name, [])
    assert store.count(name) == 3
    assert store.retrieve(name, [p.id for p in written]).keys() == {written[n].id for n in (1, 2, 4)}


def test_scroll_pages_through_everything_in_id_order(store: Store, name: str) -> None:
    store.create_collection(name, meta())
    assert list(store.scroll(name)) == []
    written = sorted(points(codes(25)), key=lambda p: p.id)
    store.upsert(name, written)
    pages = list(store.scroll(name, codes=True, page=10))
    assert [len(page) for page in pages] == [10, 10, 5]
    found = [point for page in pages for point in page]
    assert [p.id for p in found] == [p.id for p in written]
    np.testing.assert_array_equal([p.code for p in found], [p.code for p in written])
    ones = Filter(must=(Match("label", ("1",)),))
    assert [p.id for page in store.scroll(name, ones, page=3) for p in page] == [
        p.id for p in written if p.payload["label"] == "1"
    ]


def test_count_with_filters(store: Store, name: str) -> None:
    store.create_collection(name, meta())
    store.upsert(name, points(codes(10)))
    assert store.count(name, Filter()) == 10
    assert store.count(name, Filter(must=(Match("label", ("0", "1")),))) == 7
    assert store.count(name, Filter(must_not=(Match("label", ("0",)),))) == 6
    both = Filter(must=(Match("label", ("0",)), Match("path", ("0.png", "1.png"))))
    assert store.count(name, both) == 1


def test_a_healthy_collection_is_settled_and_takes_space(store: Store, name: str) -> None:
    store.create_collection(name, meta())
    store.upsert(name, points(codes(50)))
    assert store.health(name) == CollectionHealth(settled=True)
    if (usage := store.disk_usage(name)) is not None:
        assert min(usage) > 0
    assert (usage is None) == (store.engine == "server")
    with pytest.raises(NoCollection):
        store.health(f"{name}-none")


def test_only_one_engine_has_an_index(store: Store) -> None:
    assert store.server is (None if store.engine == "embedded" else store)


def test_the_collections_of_an_alias_are_in_order_of_creation(store: Store, name: str) -> None:
    made = []
    for _ in range(3):
        collection, created = next_name(store, name, "4f1c2a9b" * 8)
        store.create_collection(collection, dataclasses.replace(meta(), created=created.isoformat()))
        made.append(collection)
    store.create_collection(f"{name}-x-20260101t000000z-4f1c2a9b", meta())  # of the alias `…-x`
    assert list_family(store, name) == made == sorted(set(made))
    store.move_alias(name, made[1])
    assert list(find_unused(store, name)) == [made[0], made[2]]
    assert find_unused(store, name)[made[2]] == store.metadata(made[2])
    assert (time_of(made[0]), time_of("of-somebody-else")) == (made[0].split("-")[-2], "")
