"""Searching, on both engines, compared with brute force."""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from retrieval.errors import UsageError
from retrieval.gallery.results import result_rows
from retrieval.images.decode import decode, encode_png
from retrieval.ingest.job import ingest
from retrieval.schema.filters import Filter, Match
from retrieval.schema.image_shape import ImageShape
from retrieval.schema.records import Hit, point_id
from retrieval.schema.verdict import Verdict
from retrieval.search.calibration import distance_at, fit, percentile
from retrieval.search.options import SearchOptions
from retrieval.search.query import Query, Stored
from retrieval.search.results import (
    NONE_THAT_MEETS_ALIKE,
    NOTHING_ALIKE,
    NOTHING_ELSE,
    NOTHING_MEETS,
    Result,
    postprocess,
)
from retrieval.search.run import LiveCollection, recommend, search
from retrieval.sources.folder import Folder
from tests.errors import mentions, raises
from tests.reindex.encoders import SIDE
from tests.search.conftest import SHADES, Shelf

GREY = "grey/001.png"
COPIES = {GREY, "copy/a.png", "copy/b.png"}


def ask(shelf: Shelf, *queries: Query | Stored, **options: object) -> list[Result]:
    return list(search(shelf.store, shelf.live, queries, SearchOptions(**options)))  # type: ignore[arg-type]


def one(shelf: Shelf, query: Query | Stored, **options: object) -> Result:
    (result,) = ask(shelf, query, **options)
    return result


def never(mark: str) -> None:
    pytest.fail("no image was encoded, so no model is needed")


def codes_of(shelf: Shelf, keys: list[str]) -> np.ndarray:
    pixels = [decode((shelf.root / key).read_bytes(), key, ImageShape(SIDE, SIDE, 1)).pixels for key in keys]
    return SHADES.encode(np.stack(pixels))


def test_copies_are_one_hit_with_their_names(shelf: Shelf) -> None:
    near = shelf.query("grey/004.png")
    hits = one(shelf, near, k=61).hits
    assert len(hits) == 59
    (copied,) = (hit for hit in hits if hit.copies)
    assert {copied.path, *(name.removeprefix("pictures/") for name in copied.copies)} == COPIES
    assert copied.to_json()["copies"] == list(copied.copies)
    every = one(shelf, near, k=61, keep_copies=True).hits
    assert len(every) == 61
    assert {hit.path for hit in every} >= COPIES
    assert not any(hit.copies for hit in every)


def test_k_counts_contents_not_copies(shelf: Shelf) -> None:
    keys = shelf.names()
    order = np.linalg.norm(codes_of(shelf, keys) - codes_of(shelf, [GREY]), axis=1).argsort(kind="stable")
    others = [keys[row] for row in order if keys[row] not in COPIES]
    found = one(shelf, shelf.query(GREY), k=4)
    assert [hit.path for hit in found.hits] == others[:4]
    own = one(shelf, shelf.query(GREY), k=4, include_self=True).hits
    assert {own[0].path, *(name.removeprefix("pictures/") for name in own[0].copies)} == COPIES
    assert own[0].distance == 0
    assert [hit.path for hit in own[1:]] == others[:3]


def test_a_percentile_is_the_share_of_closer_neighbours(shelf: Shelf) -> None:
    codes = codes_of(shelf, [key for key in shelf.names() if not key.startswith("copy/")])
    apart = np.linalg.norm(codes[:, None] - codes, axis=2)
    np.fill_diagonal(apart, np.inf)
    nearest = np.sort([*apart.min(axis=1), *[apart[shelf_row(shelf)].min()] * 2])
    assert shelf.live.meta.neighbours_of == 62
    np.testing.assert_allclose(shelf.live.meta.neighbours, np.quantile(nearest, np.linspace(0, 1, 101)), atol=1e-4)
    for hit in one(shelf, shelf.query("dark/000.png"), k=59).hits:
        share = 100 * (nearest < hit.distance).mean()
        assert hit.percentile == pytest.approx(share, abs=2.5)
    meta = shelf.live.meta
    assert percentile(meta, distance_at(meta, 42) or 0) == pytest.approx(42, abs=0.5)
    unknown = dataclasses.replace(meta, neighbours=())
    assert (percentile(unknown, 1.0), distance_at(unknown, 3)) == (None, None)


def shelf_row(shelf: Shelf) -> int:
    return [key for key in shelf.names() if not key.startswith("copy/")].index(GREY)


def test_a_grown_collection_is_calibrated_again(shelf: Shelf) -> None:
    before = fit(shelf.store, shelf.live.collection)
    assert before == shelf.live.meta
    more = shelf.root.parent / "more"
    for number in range(20):
        file = more / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(encode_png(np.full((SIDE, SIDE, 1), number, np.uint8)))
    sources = [Folder("more", more)]
    ingest(shelf.store, SHADES, sources, shelf.place.alias, ledgers=shelf.place.settings.refused)
    after = shelf.store.metadata(shelf.live.collection)
    assert after.neighbours_of == 82
    assert after.neighbours != before.neighbours


def test_results_without_a_match_are_flagged(shelf: Shelf) -> None:
    stripes = np.zeros((SIDE, SIDE, 1), np.uint8)
    stripes[:, ::2] = 255
    odd = Query.of("stripes", lambda: encode_png(255 - np.triu(stripes[..., 0])[..., None]))
    found = one(shelf, odd, k=3)
    assert (found.note, len(found.hits)) == (NOTHING_ALIKE, 3)
    assert found.to_json()["note"] == NOTHING_ALIKE
    cut = one(shelf, odd, k=3, max_percentile=99)
    nearest = f"no image within percentile 99; the nearest is at percentile {found.hits[0].percentile:g}"
    assert (cut.note, cut.hits) == (f"{NOTHING_ALIKE}; {nearest}", [])
    light = Filter(must=(Match("label", ("light",)),))
    assert one(shelf, odd, k=3, where=light).note == NONE_THAT_MEETS_ALIKE
    known = one(shelf, shelf.query("dark/000.png"), k=3)
    assert known.note is None
    assert "note" not in known.to_json()


def test_hits_that_are_too_far_are_left_out(shelf: Shelf) -> None:
    everything = one(shelf, shelf.query("dark/000.png"), k=59).hits
    limit = everything[7].distance
    near = one(shelf, shelf.query("dark/000.png"), k=59, max_distance=limit)
    assert near.hits == [hit for hit in everything if hit.distance <= limit]
    share = one(shelf, shelf.query("dark/000.png"), k=59, max_percentile=50.0)
    assert share.hits == [hit for hit in everything if (hit.percentile or 0) <= 50]


def test_a_limit_that_leaves_out_every_hit_says_nothing_of_likeness(shelf: Shelf) -> None:
    query = shelf.query("dark/000.png")
    nearest = one(shelf, query).hits[0]
    assert (nearest.percentile or 0) < 90, "an image like others"
    limit = nearest.distance / 2
    cut = one(shelf, query, max_distance=limit)
    assert (cut.hits, cut.no_match) == ([], False)
    words = f"no image within a distance of {limit:g}; the nearest is at {nearest.distance:.4f}"
    assert cut.to_json() == {"query": query.name, "hits": [], "note": words}
    (row,) = result_rows([cut], {})
    assert row.nothing == words
    both = one(shelf, query, max_distance=limit, max_percentile=0.0).note or ""
    assert f"a distance of {limit:g} and percentile 0;" in both
    liked = recommend(shelf.store, shelf.live, [query], [], SearchOptions(max_distance=limit))
    assert (liked.hits, liked.no_match, liked.note) == ([], False, words)


def test_filters_hold_and_say_when_nothing_meets_them(shelf: Shelf) -> None:
    light = Filter(must=(Match("label", ("light",)),))
    found = one(shelf, shelf.query("dark/000.png"), k=59, where=light)
    assert {hit.label for hit in found.hits} == {"light"}
    assert len(found.hits) == 20
    nothing = one(shelf, shelf.query("dark/000.png"), where=Filter(must=(Match("label", ("red",)),)))
    assert (nothing.hits, nothing.note) == ([], NOTHING_MEETS)


def test_stored_images_need_no_model(shelf: Shelf) -> None:
    bare = LiveCollection(shelf.live.collection, shelf.live.meta, never)  # type: ignore[arg-type]
    names = [f"pictures/{GREY}", point_id("pictures", GREY), "pictures/nothing.png", point_id("pictures", "x")]
    results = list(search(shelf.store, bare, map(Stored, names), SearchOptions(k=3)))
    by_image = one(shelf, shelf.query(GREY), k=3)
    assert results[0].hits == results[1].hits == by_image.hits
    for missing in results[2:]:
        assert missing.refused is not None
        assert mentions(missing.refused, shelf.live.collection)
    mixed = ask(shelf, Stored(names[0]), shelf.query(GREY), Stored(names[2]), k=3)
    assert [result.hits for result in mixed] == [by_image.hits, by_image.hits, []]


def test_a_bad_query_does_not_affect_the_others(shelf: Shelf) -> None:
    bad = Query.of("text", lambda: b"not an image")
    results = ask(shelf, shelf.query(GREY), bad, shelf.query("dark/000.png"), k=2)
    assert [len(result.hits) for result in results] == [2, 0, 2]
    assert "not an image" in str(results[1].refused)
    assert results[1].to_json() == {"query": "text", "hits": [], "error": results[1].refused}


def test_queries_may_be_infinite(shelf: Shelf) -> None:
    asked = itertools.count()

    def endless() -> Iterator[Query]:
        for _ in asked:
            yield shelf.query(GREY)

    results = search(shelf.store, shelf.live, endless(), SearchOptions(k=1))
    assert len(list(itertools.islice(results, 700))) == 700
    assert next(asked) < 2000


def test_other_sizes_and_colours_go_through_the_one_pipeline(shelf: Shelf) -> None:
    pixels = decode((shelf.root / GREY).read_bytes(), GREY, ImageShape(SIDE, SIDE, 1)).pixels
    large = encode_png(pixels.repeat(8, axis=0).repeat(8, axis=1).repeat(3, axis=2))
    found = one(shelf, Query.of("large", lambda: large), k=1).hits[0]
    assert {found.path, *(name.removeprefix("pictures/") for name in found.copies)} == COPIES


def test_recommend(shelf: Shelf) -> None:
    like: list[Query | Stored] = [shelf.query("dark/000.png"), Stored("pictures/dark/003.png")]
    unlike: list[Query | Stored] = [shelf.query("light/002.png")]
    found = recommend(shelf.store, shelf.live, like, unlike, SearchOptions(k=10))
    assert {hit.label for hit in found.hits} == {"dark"}
    assert not {"dark/000.png", "dark/003.png"} & {hit.path for hit in found.hits}
    distances = [hit.distance for hit in found.hits]
    assert distances == sorted(distances)
    assert found.query.name == "dark/000.png + pictures/dark/003.png − light/002.png"
    light = Filter(must=(Match("label", ("light",)),))
    assert {hit.label for hit in recommend(shelf.store, shelf.live, like, [], SearchOptions(where=light)).hits} == {
        "light"
    }
    with raises(UsageError, option="like", hint=""):
        recommend(shelf.store, shelf.live, [], unlike, SearchOptions())
    with raises(UsageError, "pictures/gone.png", shelf.live.collection):
        recommend(shelf.store, shelf.live, [Stored("pictures/gone.png")], [], SearchOptions())


def test_diverse_hits_leave_the_query_out(shelf: Shelf) -> None:
    found = one(shelf, shelf.query(GREY), k=6, diverse=True)
    assert len(found.hits) == 6
    assert not COPIES & {hit.path for hit in found.hits}
    plain = one(shelf, shelf.query(GREY), k=6).hits
    assert {hit.path for hit in found.hits} != {hit.path for hit in plain}


@pytest.mark.parametrize(
    ("option", "value"),
    [("k", 0), ("k", 10_001), ("max_distance", -0.1), ("max_distance", float("nan")), ("max_percentile", 101.0)],
)
def test_numbers_out_of_range(option: str, value: float) -> None:
    with raises(UsageError, f"{value:g}", option=option) as caught:
        SearchOptions(**{option: value})  # type: ignore[arg-type]
    assert "--" not in str(caught.value), "the command line's spelling is none of Python's business"


def test_a_collection_without_calibration_has_no_percentiles(shelf: Shelf) -> None:
    old = dataclasses.replace(shelf.live.meta, neighbours=(), neighbours_of=0)
    hit = Hit("id", 9.0, {"source": "s", "path": "p", "sha256": "c"})
    found = postprocess(shelf.query(GREY), [hit], old, SearchOptions(max_percentile=1.0))
    assert [(hit.percentile, found.note) for hit in found.hits] == [(None, None)]
    assert postprocess(shelf.query(GREY), [], old, SearchOptions()).note == NOTHING_ELSE


def test_a_weak_collection_says_so_with_every_result(shelf: Shelf) -> None:
    assert one(shelf, shelf.query(GREY)).weak is None
    assert "weak" not in one(shelf, shelf.query(GREY)).to_json()
    verdict = Verdict("P@5", 0.2, "2026-11-29T00:00:00+00:00", 60, "PCA", 0.1, helped=True)
    meta = dataclasses.replace(shelf.live.meta, verdict=verdict)
    shelf.store.set_metadata(shelf.live.collection, meta)
    live = dataclasses.replace(shelf.live, meta=shelf.store.metadata(shelf.live.collection))
    stored = Stored(point_id("pictures", GREY))
    found = [*search(shelf.store, live, [shelf.query(GREY), stored])]
    found.append(recommend(shelf.store, live, [stored], [], SearchOptions()))
    for result in found:
        assert result.weak == verdict.weakness
        assert result.to_json()["weak"] == verdict.weakness
        assert result.hits
