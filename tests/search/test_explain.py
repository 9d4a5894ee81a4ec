"""Comparing two images: each number equals that of brute force over the whole collection."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import UsageError
from retrieval.images.decode import encode_png
from retrieval.schema.records import point_id
from retrieval.search import explain as module
from retrieval.search.calibration import percentile
from retrieval.search.explain import Explanation, explain
from retrieval.search.query import Query, Stored
from retrieval.search.run import LiveCollection
from retrieval.store.base import Store
from tests.duplicates.digits import Blocks, digits, filled, put, put_digits
from tests.errors import raises
from tests.store.conftest import ENGINES, clean

COUNT, HELD = 90, 60
"""Digits there are, and how many of them the collection holds."""


@pytest.fixture(params=ENGINES)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Store, LiveCollection]]:
    """Sixty digits, and four copies of two of them, on either engine."""
    from retrieval.store.edge.engine import EdgeStore
    from retrieval.store.qdrant.server import ServerStore

    url = request.getfixturevalue("qdrant_url") if request.param == "server" else None
    root = put_digits(tmp_path / "pictures", HELD)
    put(root, {f"copy/{n}-{k}.png": (root / f"00{n}.png").read_bytes() for n in (1, 2) for k in range(4)})
    with closing(ServerStore(url) if url else EdgeStore(tmp_path / "edge")) as store:
        yield store, filled(store, {"pictures": root}, tmp_path / "ledgers", "test-explain")
    if url:
        clean(url)


def held(number: int) -> Stored:
    return Stored(f"pictures/{number:03d}.png")


def file(number: int) -> Query:
    return Query.of(f"{number}.png", lambda: encode_png(digits(COUNT)[0][number]))


def expected(a: int, b: int) -> tuple[float, tuple[int, int]]:
    """Distance and ranks: 1 and how many images of other content than both are nearer."""
    codes = Blocks().encode(digits(COUNT)[0])
    weights = np.array([5 if n in (1, 2) else 1 for n in range(HELD)])
    distance = float(np.linalg.norm(codes[a] - codes[b]))

    def rank(of: int) -> int:
        others = [n for n in range(HELD) if n not in (a, b)]
        far = np.linalg.norm(codes[others] - codes[of], axis=1)
        return 1 + int(weights[others][far < distance - 1e-6].sum())

    return distance, (rank(a), rank(b))


@pytest.mark.parametrize(("a", "b"), [(3, 4), (1, 2), (5, 1), (8, 70), (75, 9), (80, 81)])
def test_numbers_are_those_of_brute_force(place: tuple[Store, LiveCollection], a: int, b: int) -> None:
    store, live = place
    pair = [held(n) if n < HELD else file(n) for n in (a, b)]
    found = explain(store, live, pair)
    distance, ranks = expected(a, b)
    assert found.distance == pytest.approx(distance, abs=1e-5)
    assert found.ranks == ranks
    assert found.same_content is False
    assert found.names == (pair[0].name, pair[1].name)
    share = percentile(live.meta, distance)
    assert share is not None
    assert found.percentile == pytest.approx(share, abs=0.11)
    back = explain(store, live, pair[::-1])
    assert back.distance == pytest.approx(found.distance)
    assert back.ranks == ranks[::-1]


def test_a_file_and_the_stored_one_are_the_same(place: tuple[Store, LiveCollection]) -> None:
    store, live = place
    pairs: list[list[Query | Stored]] = [
        [file(7), held(7)],
        [held(7), held(7)],
        [held(1), Stored("pictures/copy/1-0.png")],
    ]
    for pair in pairs:
        found = explain(store, live, pair)
        assert found.same_content
        assert found.ranks == (1, 1)
        assert found.distance == pytest.approx(0, abs=1e-5)
        assert found.percentile == 0


def test_by_id_and_by_name(place: tuple[Store, LiveCollection]) -> None:
    store, live = place
    by_id = [Stored(point_id("pictures", f"00{n}.png")) for n in (3, 4)]
    assert explain(store, live, by_id).distance == explain(store, live, [held(3), held(4)]).distance


def test_reconstructions_are_those_of_the_decoder(place: tuple[Store, LiveCollection]) -> None:
    store, live = place
    found = explain(store, live, [held(3), file(70)])
    encoder = Blocks()
    seen = encoder.decode(encoder.encode(digits(COUNT)[0][[3, 70]])) * 255
    for pixels, theirs in zip(found.seen, seen, strict=True):
        assert pixels.dtype == np.uint8
        assert pixels.shape == (28, 28, 1)
        np.testing.assert_allclose(pixels, theirs, atol=1)


def test_a_rank_beyond_the_limit_is_none(place: tuple[Store, LiveCollection], monkeypatch: pytest.MonkeyPatch) -> None:
    store, live = place
    _, ranks = expected(3, 4)
    assert 2 < min(ranks) < max(ranks)
    monkeypatch.setattr(module, "FARTHEST", min(ranks))
    found = explain(store, live, [held(3), held(4)])
    assert sorted(found.ranks, key=lambda rank: rank is None) == [min(ranks), None]
    monkeypatch.setattr(module, "FARTHEST", min(ranks) - 1)
    assert explain(store, live, [held(3), held(4)]).ranks == (None, None)


@pytest.mark.parametrize("bad", [Stored("pictures/nosuch.png"), Query.of("torn.png", lambda: b"not an image")])
def test_an_unusable_image_is_named(place: tuple[Store, LiveCollection], bad: Query | Stored) -> None:
    store, live = place
    for pair in ([bad, held(1)], [held(1), bad]):
        with raises(UsageError, bad.name):
            explain(store, live, pair)


def test_as_json() -> None:
    nothing = np.zeros((28, 28, 1), np.uint8)
    found = Explanation(("a", "b"), 1.5, None, (3, None), same_content=False, seen=(nothing, nothing))
    assert found.to_json() == {
        "a": "a",
        "b": "b",
        "distance": 1.5,
        "percentile": None,
        "rank_of_b_for_a": 3,
        "rank_of_a_for_b": None,
        "same_content": False,
    }
