"""Pages to review: self-contained, every image drawn, each reconstruction beside its image."""

import re
from pathlib import Path

import numpy as np
import pytest

from retrieval.duplicates.groups import Group, GroupMember
from retrieval.gallery.page import MAX_FRAGMENT_HITS, fragment
from retrieval.gallery.review import write_duplicates, write_explanation, write_outliers
from retrieval.gallery.rows import Row, Tile
from retrieval.images.decode import encode_png
from retrieval.search.explain import Explanation
from retrieval.search.outliers import Outlier
from retrieval.sources import Source
from retrieval.sources.folder import Folder
from tests.duplicates.digits import digits, put
from tests.gallery.test_gallery import Page, pixels_of

EVIL = "<b>&\"'.png"
NAMES = ("a.png", "sub/b.png", EVIL, "gone.png")


@pytest.fixture
def sources(tmp_path: Path) -> dict[str, Source]:
    """Three images; a fourth is missing."""
    root = put(tmp_path / "pictures", {name: encode_png(digits(5)[0][n]) for n, name in enumerate(NAMES[:3])})
    return {"pictures": Folder("pictures", root)}


def payload(name: str, source: str = "pictures", **more: str) -> dict[str, object]:
    return {"source": source, "path": name, "width": 28, "height": 28, "bytes": 1234, "sha256": name, **more}


def member(name: str, distance: float = 0.0, *, exact: bool = False, source: str = "pictures") -> GroupMember:
    return GroupMember(f"id of {name}", payload(name, source), distance, exact)


def outlier(name: str, error: float | None = 0.5, why: str = "far from all others", **more: str) -> Outlier:
    return Outlier(f"id of {name}", payload(name, **more), 1.25, 99.0, error, 12.34, why)


def shown(page: Page, place: int) -> np.ndarray:
    """A digit on the page, at its own size."""
    return pixels_of(page.all("img")[place]["src"])[::6, ::6, :1]


def check_contained(page: Page) -> None:
    """Nothing is fetched, and nothing may be: the policy says so to the browser."""
    assert not {"script", "link", "iframe", "object", "form", "a", "b>"} & {tag for tag, _ in page.elements}
    assert all((image["src"] or "").startswith("data:image/") for image in page.all("img"))
    assert not re.search(r"https?:|url\(|@import", page.source)
    (policy,) = (meta["content"] or "" for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policy


def test_a_page_of_duplicates(tmp_path: Path, sources: dict[str, Source]) -> None:
    groups = [
        Group(member("a.png"), "most bytes", (member(EVIL, exact=True), member("sub/b.png", 0.25))),
        Group(member("gone.png"), "oldest", (member("a.png", 0.5), member("x.png", 0.75, source="far"))),
    ]
    write_duplicates(tmp_path / "page.html", groups, sources, 1234)
    page = Page(tmp_path / "page.html")
    check_contained(page)
    assert "1,234 images: 2 groups, 4 images can be removed. Nothing was deleted." in page.text
    assert "keep: most bytes, 28×28, 1,234 bytes" in page.text
    assert f"pictures/{EVIL}  (exact copy, 28×28, 1,234 bytes)" in [s.get("title") for s in page.all("span")]
    assert "pictures/sub/b.png  (28×28, 1,234 bytes)" in [s.get("title") for s in page.all("span")]
    for place, number in enumerate((0, 2, 1, 0)):
        np.testing.assert_array_equal(shown(page, place), digits(5)[0][number])
    assert len(page.all("img")) == 4
    missing = [span["aria-label"] or "" for span in page.all("span") if span.get("role") == "img"]
    assert [label.partition(",")[0].partition(" (")[0].strip() for label in missing] == [
        "query pictures/gone.png",
        "hit 2: far/x.png",
    ]


def test_a_page_of_no_duplicates(tmp_path: Path) -> None:
    write_duplicates(tmp_path / "page.html", [], {}, 10)
    page = Page(tmp_path / "page.html")
    check_contained(page)
    assert "10 images: 0 groups, 0 images can be removed." in page.text


def test_a_page_of_outliers_shows_reconstructions_beside(tmp_path: Path, sources: dict[str, Source]) -> None:
    found = [outlier("a.png", label="7"), outlier(EVIL, 0.875, "badly reconstructed"), outlier("gone.png", None)]
    seen = {f"id of {name}": 255 - digits(5)[0][n] for n, name in enumerate(NAMES)}
    write_outliers(tmp_path / "page.html", found, sources, seen)
    page = Page(tmp_path / "page.html")
    check_contained(page)
    sections = page.source.split("<section>")[1:]
    assert [section.count("<img ") for section in sections] == [2, 2, 1]
    for place, image in enumerate([digits(5)[0][0], seen["id of a.png"], digits(5)[0][2], seen[f"id of {EVIL}"]]):
        np.testing.assert_array_equal(shown(page, place), image)
    np.testing.assert_array_equal(shown(page, 4), seen["id of gone.png"])
    assert "far from all others: 12.3 typical deviations, reconstruction error 0.500" in page.text
    assert "badly reconstructed: 12.3 typical deviations, reconstruction error 0.875" in page.text
    assert sections[2].count("reconstruction error") == 0
    assert page.text.count("its reconstruction") == 3


def test_an_outlier_without_a_reconstruction(tmp_path: Path, sources: dict[str, Source]) -> None:
    write_outliers(tmp_path / "page.html", [outlier("a.png")], sources, {})
    page = Page(tmp_path / "page.html")
    assert len(page.all("img")) == 1
    assert "not reconstructed" in page.text


def test_a_page_of_two_images(tmp_path: Path) -> None:
    pixels = digits(5)[0]
    found = Explanation(("a.png", EVIL), 0.5, 12.0, (1, 2), same_content=False, seen=(255 - pixels[0], 255 - pixels[1]))
    data = [encode_png(pixels[0]), encode_png(pixels[1])]
    write_explanation(tmp_path / "page.html", found, data, ["distance <0.5>", "for a.png it is number 1"])
    page = Page(tmp_path / "page.html")
    check_contained(page)
    assert "distance <0.5>" in page.text
    assert EVIL in page.text
    for place, image in enumerate([pixels[0], found.seen[0], pixels[1], found.seen[1]]):
        np.testing.assert_array_equal(shown(page, place), image)
    assert len(page.all("section")) == 2


def test_pictures_in_colour_are_reconstructed_in_colour(tmp_path: Path) -> None:
    red = np.zeros((28, 28, 3), np.uint8)
    red[..., 0] = 200
    found = Explanation(("a", "b"), 0.5, None, (None, None), same_content=True, seen=(red, red))
    write_explanation(tmp_path / "page.html", found, [encode_png(red)] * 2, [])
    page = Page(tmp_path / "page.html")
    assert [pixels_of(image["src"])[0, 0].tolist() for image in page.all("img")] == [[200, 0, 0]] * 4


def row(hits: int, **more: object) -> Row:
    tiles = [Tile(lambda: encode_png(digits(5)[0][1]), 0.5, "pictures", f"{n}.png") for n in range(hits)]
    return Row(**{"query": EVIL, "read": lambda: encode_png(digits(5)[0][0]), "hits": tiles, **more})  # type: ignore[arg-type]


def parsed(tmp_path: Path, html: str) -> Page:
    (tmp_path / "fragment.html").write_text(html, "utf-8")
    return Page(tmp_path / "fragment.html")


def test_a_fragment_is_whole_and_escaped(tmp_path: Path) -> None:
    page = parsed(tmp_path, fragment([row(2, note="<i>a note"), row(0, refused="<u>empty", read=None)]))
    assert len(page.all("img")) == 3
    assert {tag for tag, _ in page.elements} == {"div", "figure", "figcaption", "img", "b", "br", "span"}
    assert "<i>a note" in page.text
    assert "<u>empty" in page.text
    assert page.all("figcaption")[0]["title"] == EVIL
    assert [f["title"] for f in page.all("figcaption")[1:3]] == ["pictures/0.png", "pictures/1.png"]
    np.testing.assert_array_equal(shown(page, 0), digits(5)[0][0])
    assert all((image["src"] or "").startswith("data:image/") for image in page.all("img"))


def test_a_fragment_stays_small(tmp_path: Path) -> None:
    page = parsed(tmp_path, fragment([row(MAX_FRAGMENT_HITS + 5)]))
    assert len(page.all("img")) == 1 + MAX_FRAGMENT_HITS


def test_a_fragment_without_hits_says_so(tmp_path: Path) -> None:
    assert "nothing else in the collection" in parsed(tmp_path, fragment([row(0)])).text


def test_a_digit_is_enlarged_by_whole_pixels(tmp_path: Path, sources: dict[str, Source]) -> None:
    write_duplicates(tmp_path / "page.html", [Group(member("a.png"), "oldest", (member("sub/b.png"),))], sources, 2)
    image = Page(tmp_path / "page.html").all("img")[0]
    assert (image["width"], image["height"], image["class"]) == ("168", "168", "tiny")
