"""Pages to review: self-contained, every image drawn, each reconstruction beside its image."""

import re
from html import unescape
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


def captions(page: Page) -> list[list[str]]:
    """The lines of each image's caption."""
    found = re.findall(r"<figcaption>(.*?)</figcaption>", page.source.replace("<wbr>", ""), re.DOTALL)
    return [[unescape(line) for line in re.sub(r"<[^>]*>", "\n", each).split("\n") if line] for each in found]


def test_a_page_of_duplicates(tmp_path: Path, sources: dict[str, Source]) -> None:
    groups = [
        Group(member("a.png"), "most bytes", (member(EVIL, exact=True), member("sub/b.png", 0.25))),
        Group(member("gone.png"), "oldest", (member("a.png", 0.5), member("x.png", 0.75, source="far"))),
    ]
    write_duplicates(tmp_path / "page.html", groups, sources, 1234)
    page = Page(tmp_path / "page.html")
    check_contained(page)
    assert "1,234 images: 2 groups, 4 images (4.94 KB) can be removed. Nothing was deleted." in page.text
    assert captions(page)[:3] == [
        ["keep", "pictures/a.png", "most bytes", "28×28, 1.23 KB"],
        ["exact copy", f"pictures/{EVIL}", "28×28, 1.23 KB"],
        ["distance 0.2500", "pictures/sub/b.png", "28×28, 1.23 KB"],
    ]
    assert "p3" not in page.text
    for place, number in enumerate((0, 2, 1, 0)):
        np.testing.assert_array_equal(shown(page, place), digits(5)[0][number])
    assert len(page.all("img")) == 4
    missing = [span["aria-label"] or "" for span in page.all("span") if span.get("role") == "img"]
    assert missing == ["keep: pictures/gone.png, no image", "distance 0.7500: far/x.png, no image"]


def test_a_page_of_no_duplicates(tmp_path: Path) -> None:
    write_duplicates(tmp_path / "page.html", [], {}, 10)
    page = Page(tmp_path / "page.html")
    check_contained(page)
    assert "10 images: 0 groups, 0 images (0 bytes) can be removed." in page.text


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
    assert captions(page) == [
        ["far from all others", "7", "pictures/a.png", "score 12.3", "distance 1.2500"],
        ["reconstruction", "error 0.500"],
        ["badly reconstructed", f"pictures/{EVIL}", "score 12.3", "distance 1.2500"],
        ["reconstruction", "error 0.875"],
        ["far from all others", "pictures/gone.png", "score 12.3", "distance 1.2500"],
        ["reconstruction"],
    ]
    assert "p3" not in page.text


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
    assert "Distance <0.5>." in page.text
    assert captions(page) == [["A", "a.png"], ["reconstruction"], ["B", EVIL], ["reconstruction"]]
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
    tiles = [Tile(lambda: encode_png(digits(5)[0][1]), f"pictures/{n}.png", "0.5000") for n in range(hits)]
    query = Tile(**{"read": lambda: encode_png(digits(5)[0][0]), "name": EVIL, "head": "query", **more})  # type: ignore[arg-type]
    return Row(query, tiles, "<u>nothing else in the collection")


def parsed(tmp_path: Path, html: str) -> Page:
    (tmp_path / "fragment.html").write_text(html, "utf-8")
    return Page(tmp_path / "fragment.html")


def test_a_fragment_is_whole_and_escaped(tmp_path: Path) -> None:
    page = parsed(tmp_path, fragment([row(2, facts=["<i>a note"]), row(0, read=None)]))
    assert len(page.all("img")) == 3
    assert {tag for tag, _ in page.elements} == {"div", "figure", "figcaption", "img", "b", "br", "span"}
    assert "<i>a note" in page.text
    assert "<u>nothing else in the collection" in page.text
    assert page.all("figcaption")[0]["title"] == EVIL
    assert [f["title"] for f in page.all("figcaption")[1:3]] == ["pictures/0.png", "pictures/1.png"]
    np.testing.assert_array_equal(shown(page, 0), digits(5)[0][0])
    assert all((image["src"] or "").startswith("data:image/") for image in page.all("img"))


def test_a_fragment_stays_small(tmp_path: Path) -> None:
    page = parsed(tmp_path, fragment([row(MAX_FRAGMENT_HITS + 5)]))
    assert len(page.all("img")) == 1 + MAX_FRAGMENT_HITS


def test_a_digit_is_enlarged_by_whole_pixels(tmp_path: Path, sources: dict[str, Source]) -> None:
    write_duplicates(tmp_path / "page.html", [Group(member("a.png"), "oldest", (member("sub/b.png"),))], sources, 2)
    image = Page(tmp_path / "page.html").all("img")[0]
    assert (image["width"], image["height"], image["class"]) == ("168", "168", "tiny")
