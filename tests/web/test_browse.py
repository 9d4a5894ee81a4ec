"""Browsing: every order, filtered, page by page, within limits."""

import time
from pathlib import Path
from typing import Any

import pytest
from starlette.exceptions import HTTPException

from retrieval.ops.reviews import Review, ReviewImage, load_review, save_review
from retrieval.schema.filters import Filter, Prefix
from retrieval.search.listing import list_images, natural
from retrieval.web.listings import WAITING, Listings
from retrieval.web.maps import SCALE, Maps
from tests.cli.conftest import PICTURES
from tests.web.serving import Served


def browse(served: Served, **asked: Any) -> dict[str, Any]:
    answer = served.client.get("/api/points", params=asked)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def walk(served: Served, n: int = 60, **asked: Any) -> list[dict[str, Any]]:
    """Every page."""
    pages = [browse(served, offset=offset, n=n, **asked) for offset in range(0, PICTURES + n, n)]
    assert {(page["listed"], page["whole"]) for page in pages} == {(PICTURES, True)}
    assert pages[-1]["points"] == []
    return [point for page in pages for point in page["points"]]


def test_every_order_shows_every_image_once(served: Served) -> None:
    everything = {order: walk(served, order=order) for order in ("random", "name", "date", "label")}
    paths = {order: [point["path"] for point in points] for order, points in everything.items()}
    for order in paths:
        assert sorted(paths[order]) == sorted(paths["name"])
        assert len(set(paths[order])) == PICTURES, order
    assert paths["name"] == sorted(paths["name"], key=natural)
    labels = [(point["label"], natural(point["path"])) for point in everything["label"]]
    assert labels == sorted(labels)
    dates = [point["mtime_ns"] for point in everything["date"]]
    assert dates == sorted(dates, reverse=True)
    assert paths["random"] != [point["path"] for point in walk(served, order="random", seed=1)]


def test_filters_work_here_too(served: Served) -> None:
    some = browse(served, order="name", filter='label in ("3", "5") and path~"5/*"')
    assert {point["label"] for point in some["points"]} == {"5"}
    assert some["listed"] == len(some["points"])
    wrong = served.client.get("/api/points", params={"filter": "label=3 and widht>"})
    assert (wrong.status_code, wrong.json()["context"][1].index("^")) == (400, 20)
    for refused in ({"n": 61}, {"order": "size"}, {"offset": -1}, {"offset": 10**6}, {"filter": 10_001 * "x"}):
        assert served.client.get("/api/points", params=refused).status_code == 400


def test_a_list_ends_where_its_limits_are(served: Served, monkeypatch: pytest.MonkeyPatch, pictures: Path) -> None:
    index = served.index
    collection = index.live().collection

    def listed(where: Filter | None, most: int, seconds: float) -> tuple[int, bool]:
        found = list_images(index.store, collection, "name", where, most=most, seconds=seconds)
        return len(found), found.whole

    few = len(list((pictures / "5").glob("*.png")))
    beginning = Filter(must=(Prefix("path", "5/"),))
    assert listed(beginning, PICTURES, 60) == (few, True)
    assert listed(None, PICTURES - 1, 60) == (PICTURES - 1, False)
    assert listed(None, PICTURES, 60) == (PICTURES, True)
    monkeypatch.setattr("retrieval.search.listing.PAGE", 50)
    assert listed(None, PICTURES, 0) == (50, False)


def test_only_so_many_wait_for_a_list(served: Served) -> None:
    listings = Listings(served.index)
    for _ in range(WAITING):
        listings.enter()
    with pytest.raises(HTTPException, match="503"):
        listings.enter()
    listings.leave()
    listings.enter()
    listings.pool.shutdown()


def test_the_last_lists_to_review(served: Served) -> None:
    folder = served.index.settings.reviews
    assert served.client.get("/api/reviews/outliers").status_code == 404
    assert served.client.get("/api/reviews/others").status_code == 400
    first, second, third = walk(served, order="name")[:3]
    gone = ReviewImage("00000000-0000-5000-8000-000000000000", "no longer stored")
    rows = [[ReviewImage(first["id"], "to keep"), ReviewImage(second["id"], "exact copy")], [gone]]
    review = Review([*rows, [ReviewImage(third["id"], "to keep"), gone]], found=7)
    save_review(folder, "images", "duplicates", review)
    assert load_review(folder, "images", "duplicates") == review
    found = served.client.get("/api/reviews/duplicates").json()
    assert (found["found"], found["listed"], found["made"]) == (7, 3, review.made)
    assert found["rows"] == [
        [{**first, "note": "to keep"}, {**second, "note": "exact copy"}],
        [],
        [{**third, "note": "to keep"}],
    ]
    part = served.client.get("/api/reviews/duplicates", params={"offset": 2, "filter": f"path={second['path']}"}).json()
    assert part["rows"] == [[]]
    (folder / "images-duplicates.json").write_text('{"rows": [[{"id": 3}]], "found": 1, "made": ""}')
    assert served.client.get("/api/reviews/duplicates").status_code == 404, "a damaged list is none"


def test_the_map_is_drawn_once_and_kept(served: Served) -> None:
    answer = served.client.get("/api/map")
    end = time.monotonic() + 120
    while answer.status_code == 202:
        assert time.monotonic() < end, "no map in time"
        time.sleep(0.2)
        answer = served.client.get("/api/map")
    found = answer.json()
    assert sorted(found["ids"]) == sorted(point["id"] for point in walk(served))
    assert min(found["x"] + found["y"]) == 0
    assert max(found["x"] + found["y"]) == SCALE
    points = served.index.points(found["ids"])
    assert [found["labels"][place] for place in found["label"]] == [
        points[id_].payload["label"] for id_ in found["ids"]
    ]
    (kept,) = served.index.settings.maps.glob("*.json")
    assert kept.read_bytes() == answer.content
    maps = Maps(served.index)
    kept.write_bytes(b"{")
    assert maps.find() is None, "a damaged one is drawn again"
    maps.close()
