"""Search on both engines against brute force over all pairs."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import BadCode, UsageError
from retrieval.schema.filters import Filter, Match
from retrieval.schema.records import Hit, Point
from retrieval.store.base import SearchParams, Store
from retrieval.store.edge import engine, shard
from retrieval.store.edge.engine import EdgeStore
from retrieval.store.edge.held import HeldCodes
from tests.errors import raises
from tests.store.conftest import ENGINES, codes, meta, points


@pytest.fixture(params=[*ENGINES, "held"])
def store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """Each engine, and the embedded one with all codes held in memory, as for many queries."""
    if request.param == "held":
        monkeypatch.setattr(engine, "TOGETHER", 1)
    open_engine: Callable[[str], Store] = request.getfixturevalue("open_engine")
    with closing(open_engine("embedded" if request.param == "held" else request.param)) as opened:
        yield opened


def brute_force(written: list[Point], queries: np.ndarray, k: int) -> list[list[tuple[str, float]]]:
    """(id, distance), nearest first, ties by id: the slow twin, in float64."""
    database = np.array([p.code for p in written], np.float64)
    found = []
    for query in queries.astype(np.float64):
        distances = np.sqrt(((database - query) ** 2).sum(axis=1))
        found.append(sorted(((p.id, float(d)) for p, d in zip(written, distances, strict=True)), key=by_distance)[:k])
    return found


def by_distance(hit: tuple[str, float]) -> tuple[float, str]:
    return hit[1], hit[0]


def assert_same(found: list[list[Hit]], expected: list[list[tuple[str, float]]]) -> None:
    assert [[hit.id for hit in hits] for hits in found] == [[id_ for id_, _ in hits] for hits in expected]
    np.testing.assert_allclose(
        [hit.distance for hits in found for hit in hits],
        [d for hits in expected for _, d in hits],
        atol=1e-4,
        rtol=0,
    )


def test_all_pairs_of_1000_codes_equal_brute_force(store: Store, name: str) -> None:
    store.create_collection(name, meta(dim=64))
    written = points(codes(1000, dim=64))
    store.upsert(name, written)
    queries = np.array([p.code for p in written])
    found = store.query(name, queries, 5)
    assert_same(found, brute_force(written, queries, 5))
    assert [hits[0].distance for hits in found] == [0.0] * 1000
    assert found[7][0].payload == written[7].payload


def test_filters_go_with_their_queries(store: Store, name: str) -> None:
    store.create_collection(name, meta())
    written, queries = points(codes(300)), codes(3, seed=1)
    store.upsert(name, written)
    must, must_not = Filter(must=(Match("label", ("1",)),)), Filter(must_not=(Match("label", ("1", "2")),))
    found = store.query(name, queries, 10, [must, None, must_not])
    ones, zeros = ([p for p in written if p.payload["label"] == label] for label in "10")
    for number, allowed in enumerate((ones, written, zeros)):
        assert_same(found[number : number + 1], brute_force(allowed, queries[number : number + 1], 10))


def test_ties_are_broken_by_id_even_at_the_last_place(store: Store, name: str) -> None:
    store.create_collection(name, meta())
    written = points(np.repeat(codes(4), 50, axis=0))
    store.upsert(name, written)
    queries = codes(4)
    for k in (1, 7, 49, 50, 51):
        assert_same(store.query(name, queries, k), brute_force(written, queries, k))


def test_search_parameters_do_not_cost_true_neighbours_of_few(store: Store, name: str) -> None:
    store.create_collection(name, meta())
    written, queries = points(codes(200)), codes(5, seed=2)
    store.upsert(name, written)
    for params in (SearchParams(), SearchParams(exact=True), SearchParams(ef=8)):
        assert_same(store.query(name, queries, 3, params=params), brute_force(written, queries, 3))


def test_k_larger_than_the_collection_gives_all_of_it(store: Store, name: str) -> None:
    store.create_collection(name, meta())
    assert store.query(name, codes(2), 5) == [[], []]
    written = points(codes(3))
    store.upsert(name, written)
    assert_same(store.query(name, codes(1, seed=2), 100), brute_force(written, codes(1, seed=2), 100))
    assert store.query(name, codes(0), 5) == []


def test_many_queries_see_every_write(store: Store, name: str) -> None:
    """Also with one hit for each content, and without the queries' own."""
    store.create_collection(name, meta())
    vectors = np.repeat(codes(60), 2, axis=0)
    written = points(vectors)
    for number, point in enumerate(written):
        point.payload["sha256"] = str(number // 2)  # pairs of one content
    others = [Filter(must_not=(Match("sha256", (point.payload["sha256"],)),)) for point in written]

    def check(stored: list[Point]) -> None:
        found = store.query(name, vectors, 3, others, distinct="sha256")
        for query, hits, own in zip(vectors, found, written, strict=True):
            near = brute_force(stored, query[None], len(stored))[0]
            content = {point.id: str(point.payload["sha256"]) for point in stored}
            contents = [content[id_] for id_, _ in near if content[id_] != own.payload["sha256"]]
            nearest = list(dict.fromkeys(contents))[:3]
            assert_same([hits], [[each for each in near if content[each[0]] in nearest]])
            assert [hit.payload["sha256"] for hit in hits] == [content[hit.id] for hit in hits]

    store.upsert(name, written[:100])
    check(written[:100])
    store.upsert(name, written[100:])
    check(written)
    store.delete(name, [point.id for point in written[:50]])
    check(written[50:])
    store.set_payload(name, {written[60].id: {**written[60].payload, "sha256": "new"}})
    written[60].payload["sha256"] = "new"
    assert store.query(name, vectors[60:61], 1)[0][0].payload["sha256"] == "new"


def test_codes_that_are_too_many_to_hold_are_searched_by_the_engine(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(EdgeStore(root)) as store:
        monkeypatch.setattr(engine, "TOGETHER", 1)
        in_memory = store.query("a", codes(5, seed=1), 3)
        store.delete("a", ["00000000-0000-0000-0000-000000000000"])  # a write, so that nothing is held
        monkeypatch.setattr(shard, "MOST_BYTES", 0)
        monkeypatch.setattr(HeldCodes, "read", None)
        assert_same(store.query("a", codes(5, seed=1), 3), [[(h.id, h.distance) for h in hits] for hits in in_memory])


@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(store: Store, name: str, k: int) -> None:
    store.create_collection(name, meta())
    with raises(UsageError, k, 1, option="k", hint=""):
        store.query(name, codes(1), k)


def test_a_bad_query_is_refused(store: Store, name: str) -> None:
    store.create_collection(name, meta())
    with raises(BadCode, "float32[1, 9]", name, "float32[q, 8]", hint=""):
        store.query(name, codes(1, dim=9), 5)
    with raises(BadCode, "finite", hint=""):
        store.query(name, np.full((1, 8), np.nan, np.float32), 5)
    with raises(UsageError, "1 filters", "2 queries", hint=""):
        store.query(name, codes(2), 5, [None])


def test_both_engines_give_the_same_hits(request: pytest.FixtureRequest, name: str, qdrant_url: str) -> None:
    open_engine = request.getfixturevalue("open_engine")
    answers = []
    for kind in ENGINES:
        store: Store = open_engine(kind)
        store.create_collection(name, meta())
        store.upsert(name, points(codes(500)))
        answers.append(store.query(name, codes(50, seed=3), 5))
        store.close()
    embedded, server = answers
    assert [[h.id for h in hits] for hits in embedded] == [[h.id for h in hits] for hits in server]
    assert [[h.payload for h in hits] for hits in embedded] == [[h.payload for h in hits] for hits in server]
    np.testing.assert_allclose(
        [[h.distance for h in hits] for hits in embedded],
        [[h.distance for h in hits] for hits in server],
        atol=1e-4,
    )


def test_a_sample_is_of_the_collection_and_another_each_time(store: Store, name: str) -> None:
    store.create_collection(name, meta())
    assert store.sample(name, 5) == []
    written = {point.id: point.payload for point in points(codes(200))}
    store.upsert(name, points(codes(200)))
    seen = [frozenset(point.id for point in store.sample(name, 20)) for _ in range(5)]
    assert all(len(ids) == 20 and ids <= written.keys() for ids in seen)
    assert len(set(seen)) > 1
    assert all(point.payload == written[point.id] for point in store.sample(name, 3))
    assert len(store.sample(name, 1000)) == 200


def test_values_are_counted_the_most_frequent_first(store: Store, name: str) -> None:
    store.create_collection(name, meta())
    assert store.facet(name, "label", 10) == {}
    written = points(codes(90))
    store.upsert(name, written)
    store.delete(name, [point.id for point in written if point.payload["label"] == "0"][:5])
    left = [point.payload["label"] for point in store.retrieve(name, [point.id for point in written]).values()]
    counts = store.facet(name, "label", 10)
    assert counts == {label: left.count(label) for label in set(left)}
    assert list(counts.values()) == sorted(counts.values(), reverse=True)
    assert len(store.facet(name, "label", 1)) == 1


def test_a_point_that_is_removed_while_many_are_searched(
    open_engine: Callable[[str], Store], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The codes in memory were read before; the answer comes from the engine then."""
    monkeypatch.setattr(engine, "TOGETHER", 1)
    with closing(open_engine("embedded")) as store:
        assert isinstance(store, EdgeStore)
        store.create_collection(name, meta())
        written = points(codes(20))
        store.upsert(name, written)
        queries = np.array([point.code for point in written])
        store.query(name, queries, 5)
        open_shard = store._shard(name)
        before = open_shard.held()
        store.delete(name, [written[0].id])
        open_shard._held = before
        found = store.query(name, queries, 5)
    assert_same(found, brute_force(written[1:], queries, 5))
    assert all(hit.payload for hits in found for hit in hits)
