"""Filters on both engines, compared with an independent oracle that checks every point."""

import datetime as dt
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retrieval.errors import UsageError
from retrieval.schema.filters import Condition, Filter, Match, Prefix, Range
from retrieval.schema.records import Point, point_id
from retrieval.store.base import Store
from retrieval.store.topk import MOST
from tests.errors import raises
from tests.store.conftest import ENGINES, codes, meta

NUMBER = 60
PATHS = ("2024/a/", "2024/b/", "2025/2024/", "x2024/")
TIMES = [dt.datetime(2026, month, 3, 4, 5, 6, tzinfo=dt.UTC) for month in (1, 5, 9)]


def payload(n: int) -> dict[str, Any]:
    """Points with every kind of field, some missing, some of mixed types."""
    fields: dict[str, Any] = {
        "source": ("cats", "dogs")[n % 2],
        "path": f"{PATHS[n % 4]}{n:02}.png",
        "sha256": f"{n // 3:064x}",
        "width": 100 * (n % 7),
        "bytes": n,
        "ingested_at": TIMES[n % 3].isoformat(),
        "price": (n % 5) / 2,
        "mixed": (7, "7", 7.5, True, "x")[n % 5],
        "seen": n % 4 == 0,
    }
    if n % 3:
        fields["label"] = str(n % 4)
    return fields


POINTS = [
    Point(point_id("cats", str(n)), code, payload(n)) for n, code in enumerate(codes(NUMBER // 3).repeat(3, axis=0))
]
BY_ID = {point.id: point for point in POINTS}


def meets(where: Condition, point: Point) -> bool:
    """The oracle."""
    found: Any = point.id if not isinstance(where, Filter) and where.field == "id" else None
    if not isinstance(where, Filter) and found is None:
        found = point.payload.get(where.field)
    if isinstance(where, Match):
        return found in [value for value in where.any_of if isinstance(value, bool) == isinstance(found, bool)] and (
            isinstance(found, str | bool | int)
        )
    if isinstance(where, Prefix):
        return isinstance(found, str) and found[: len(where.prefix)] == where.prefix
    if isinstance(where, Range):
        bounds: dict[str, Any] = where.bounds
        if any(isinstance(bound, dt.datetime) for bound in bounds.values()):
            if not isinstance(found, str):
                return False
            try:
                found = dt.datetime.fromisoformat(found)
            except ValueError:
                return False
            if found.tzinfo is None:
                found = found.replace(tzinfo=dt.UTC)
        elif isinstance(found, bool | str) or found is None:
            return False
        low: Any = bounds.get("gte")
        high: Any = bounds.get("lte")
        above: Any = bounds.get("gt")
        below: Any = bounds.get("lt")
        return not (
            (low is not None and found < low)
            or (high is not None and found > high)
            or (above is not None and found <= above)
            or (below is not None and found >= below)
        )
    either = not where.should or any(meets(each, point) for each in where.should)
    return either and all(meets(m, point) for m in where.must) and not any(meets(m, point) for m in where.must_not)


texts = st.sampled_from(["cats", "dogs", "0", "1", "2", "7", "x", "nothing"])
matches = st.one_of(
    st.builds(Match, st.sampled_from(["label", "source", "mixed"]), st.lists(texts, max_size=3).map(tuple)),
    st.builds(Match, st.sampled_from(["width", "mixed"]), st.lists(st.integers(0, 700), max_size=3).map(tuple)),
    st.builds(Match, st.just("seen"), st.lists(st.booleans(), max_size=2).map(tuple)),
    st.builds(Match, st.just("mixed"), st.just(("7", 7, True))),
    st.builds(Match, st.just("id"), st.lists(st.sampled_from(list(BY_ID)), max_size=3).map(tuple)),
    st.builds(Match, st.just("sha256"), st.lists(st.integers(0, 25).map(lambda n: f"{n:064x}"), max_size=2).map(tuple)),
)
bounds = st.sampled_from([None, -1, 0, 0.5, 1, 2.25, 99.5, 100, 300, 300.5, 600])
numbered = st.sampled_from(["width", "bytes", "price", "mixed", "label"])
numbers = st.builds(Range, numbered, bounds, bounds, bounds, bounds)
moments = st.sampled_from([None, *TIMES, dt.datetime(2026, 4, 1, tzinfo=dt.timezone(dt.timedelta(hours=5)))])
times = st.builds(Range, st.sampled_from(["ingested_at", "label"]), moments, moments, moments, moments)
prefixes = st.builds(
    Prefix,
    st.sampled_from(["path", "label", "mixed", "width"]),
    st.sampled_from(["", "2024/", "2024/a/0", "20", "x", "7", "4/"]),
)
leaves: st.SearchStrategy[Condition] = st.one_of(matches, numbers, times, prefixes)


def joined(inner: st.SearchStrategy[Condition]) -> st.SearchStrategy[Condition]:
    some = st.lists(inner, max_size=2).map(tuple)
    return st.builds(Filter, some, some, some)


filters = joined(st.recursive(leaves, joined, max_leaves=5))


@pytest.fixture(scope="module", params=ENGINES)
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, str]]:
    """A store that holds the points."""
    from retrieval.store.edge.engine import EdgeStore
    from retrieval.store.qdrant.server import ServerStore

    store: Store = (
        EdgeStore(tmp_path_factory.mktemp("embedded"))
        if request.param == "embedded"
        else ServerStore(request.getfixturevalue("qdrant_url"))
    )
    name = "filters-of-a-module"  # other tests drop what is called test-…
    store.create_collection(name, meta())
    store.upsert(name, POINTS)
    yield store, name
    store.drop_collection(name)
    store.close()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=filters)
def test_a_filter_means_the_same_everywhere(filled: tuple[Store, str], where: Filter) -> None:
    store, name = filled
    expected = {point.id for point in POINTS if meets(where, point)}
    assert {point.id for point in POINTS if where.holds(point.id, point.payload)} == expected
    assert {point.id for page in store.scroll(name, where, page=17) for point in page} == expected
    assert store.count(name, where) == len(expected)
    (hits,) = store.query(name, codes(1, seed=5), NUMBER, [where])
    assert {hit.id for hit in hits} == expected
    (few,) = store.query(name, codes(1, seed=5), 3, [where])
    assert few == hits[:3]


@pytest.mark.parametrize(("field", "values"), [("mixed", ("7", "x")), ("width", (100, 200))])
def test_what_is_wanted_and_excluded_is_not_found(
    filled: tuple[Store, str], field: str, values: tuple[Any, ...]
) -> None:
    """Qdrant 1.16.3 finds it: it does not check a condition again that it has looked up in its index."""
    store, name = filled
    ids = tuple(point.id for point in POINTS[:2])
    for one, same in ((Match("id", ids), Match("id", ids[::-1])), (Match(field, values), Match(field, values[::-1]))):
        for where in (Filter(must=(one,), must_not=(same,)), Filter(should=(one,), must_not=(same,))):
            assert [*store.scroll(name, where)] == []
            assert (store.count(name, where), store.query(name, codes(1), 5, [where])) == (0, [[]])
        left = Filter(should=(one, Match("label", ("1", "2"))), must_not=(same,))
        found = {point.id for page in store.scroll(name, left) for point in page}
        assert found == {point.id for point in POINTS if meets(left, point)} != set()


def test_of_two_bounds_on_one_side_both_hold(filled: tuple[Store, str]) -> None:
    """Qdrant 1.16.3 applies only the strict one."""
    store, name = filled
    for where in (Range("width", gt=-1, gte=0.5), Range("width", gt=100, gte=100), Range("width", lt=700, lte=300.5)):
        found = {point.id for page in store.scroll(name, Filter(must=(where,))) for point in page}
        assert found == {point.id for point in POINTS if meets(where, point)} != set()


def test_distinct_gives_every_copy_of_the_first_k_contents(filled: tuple[Store, str]) -> None:
    store, name = filled
    asked = codes(4, seed=6)
    everything = store.query(name, asked, NUMBER)
    for k in (1, 5, 19, 20, 50):
        for hits, ordered in zip(store.query(name, asked, k, distinct="sha256"), everything, strict=True):
            kept = list(dict.fromkeys(hit.payload["sha256"] for hit in ordered))[:k]
            assert hits == [hit for hit in ordered if hit.payload["sha256"] in kept]
            assert len(hits) == 3 * min(k, NUMBER // 3)


def test_hits_without_the_field_are_each_a_value_of_their_own(filled: tuple[Store, str]) -> None:
    store, name = filled
    (hits,) = store.query(name, codes(1), 7, [Filter(must_not=(Prefix("label", ""),))], distinct="label")
    assert len(hits) == 7
    assert all("label" not in hit.payload for hit in hits)


def test_without_payloads_only_checked_fields_are_sent(filled: tuple[Store, str]) -> None:
    store, name = filled
    (bare,) = store.query(name, codes(1), 5, payload=False)
    (full,) = store.query(name, codes(1), 5)
    assert [(hit.id, hit.distance) for hit in bare] == [(hit.id, hit.distance) for hit in full]
    assert {str(hit.payload) for hit in bare} == {"{}"}
    (some,) = store.query(name, codes(1), 5, [Filter(must_not=(Match("sha256", ("0" * 64,)),))], payload=False)
    assert all(hit.payload.keys() == {"sha256"} for hit in some)


def test_a_search_among_very_many_copies_ends(store: Store, name: str) -> None:
    many = MOST + 200
    code = codes(1)[0]
    written = [Point(point_id("cats", str(n)), code, {"sha256": "same", "source": "cats"}) for n in range(many)]
    written.append(Point(point_id("cats", "other"), code + 1, {"sha256": "other", "source": "cats"}))
    store.create_collection(name, meta())
    store.upsert(name, written)
    (hits,) = store.query(name, code[None], 2, distinct="sha256")
    assert len(hits) > MOST
    (three,) = store.query(name, code[None], 3)
    assert len(three) == 3


def test_like_some_and_unlike_others(filled: tuple[Store, str]) -> None:
    store, name = filled
    like, unlike = codes(NUMBER // 3)[[2, 7]], codes(NUMBER // 3)[[11]]
    hits = store.recommend(name, like, unlike, 20)
    places = np.array([BY_ID[hit.id].code for hit in hits])
    near = np.linalg.norm(places[:, None] - like, axis=2).min(axis=1)
    far = np.linalg.norm(places[:, None] - unlike, axis=2).min(axis=1)
    np.testing.assert_allclose([hit.distance for hit in hits], near, atol=1e-5)
    assert near[0] == 0
    nearer = near < far
    assert nearer.any()
    assert nearer.tolist() == sorted(nearer.tolist(), reverse=True)
    assert near[nearer].tolist() == pytest.approx(sorted(near[nearer]), abs=1e-5)
    where = Filter(must=(Prefix("path", "2024/"),), must_not=(Match("sha256", (f"{2:064x}",)),))
    allowed = {point.id for point in POINTS if meets(where, point)}
    some = store.recommend(name, like, unlike, 6, where)
    assert len(some) == 6
    assert {hit.id for hit in some} <= allowed
    alone = store.recommend(name, like, np.empty((0, 8), np.float32), 6)
    assert [hit.distance for hit in alone] == pytest.approx([0] * 6, abs=1e-6)


def test_diverse_hits_are_not_all_the_same(filled: tuple[Store, str]) -> None:
    store, name = filled
    asked = codes(NUMBER // 3)[4]
    plain = {BY_ID[hit.id].payload["sha256"] for hit in store.query(name, asked[None], 6)[0]}
    hits = store.diverse(name, asked, 6)
    assert len({BY_ID[hit.id].payload["sha256"] for hit in hits}) > len(plain)
    assert hits[0].distance == pytest.approx(0, abs=1e-6)
    where = Filter(must=(Match("source", ("dogs",)),), must_not=(Match("sha256", (f"{4:064x}",)),))
    some = store.diverse(name, asked, 4, where)
    assert len(some) == 4
    assert all(meets(where, BY_ID[hit.id]) for hit in some)
    for wrong in (0, -3):
        with raises(UsageError, wrong, 1, option="k", hint=""):
            store.diverse(name, asked, wrong)


def test_both_engines_recommend_and_vary_alike(open_engine: Callable[[str], Store], name: str, qdrant_url: str) -> None:
    answers = []
    for engine in ENGINES:
        store = open_engine(engine)
        store.create_collection(name, meta())
        store.upsert(name, [Point(p.id, c, p.payload) for p, c in zip(POINTS, codes(NUMBER, seed=9), strict=True)])
        asked = codes(3, seed=8)
        where = Filter(must_not=(Prefix("path", "2024/"),))
        found = [store.recommend(name, asked[:2], asked[2:], 10, where), store.diverse(name, asked[0], 10, where)]
        answers.append([[(hit.id, pytest.approx(hit.distance, abs=1e-5)) for hit in hits] for hits in found])
        store.close()
    assert answers[0] == answers[1]
