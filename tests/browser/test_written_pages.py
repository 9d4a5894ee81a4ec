"""The pages that commands write, on a desk and on the smallest phone: nothing wider, nothing cut off, whole images,
and nothing that axe finds.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page

from retrieval.duplicates.groups import Group, GroupMember
from retrieval.gallery.page import write_html
from retrieval.gallery.results import result_rows
from retrieval.gallery.review import write_duplicates, write_outliers
from retrieval.gallery.rows import EXPLANATION, TITLE, Row, Table, Tile
from retrieval.schema.records import Hit
from retrieval.search.outliers import Outlier
from retrieval.search.query import Query
from retrieval.search.results import Result
from tests.browser.conftest import violations
from tests.images.samples import file, photo

LONG = "Packages/Arla-Ecological-Medium-Fat-Milk/a_file_name_that_does_not_end_for_a_while.jpg"
SEEN = {"phone": (320, 568), "desk": (1280, 800)}
CUT = """() => [...document.querySelectorAll('body *')].filter(each => {
  const style = getComputedStyle(each)
  return style.clipPath === 'none' && style.overflowX !== 'visible' && each.scrollWidth > each.clientWidth + 1
}).map(each => each.className + ': ' + each.textContent)"""
OUTSIDE = """() => [...document.images].filter(each => {
  const [image, mat] = [each.getBoundingClientRect(), each.parentElement.getBoundingClientRect()]
  return !each.naturalWidth || image.bottom > mat.bottom + 1 || image.right > mat.right + 1
}).map(each => each.alt)"""


class Photos:
    """A source of tall photographs."""

    def read(self, key: str) -> bytes:
        return file(photo(400, 300), "JPEG")


PAYLOAD = {"source": "pictures", "path": LONG, "label": "Arla-Ecological-Medium-Fat-Milk", "width": 300, "bytes": 9000}
MEMBER = GroupMember("id", PAYLOAD, 0.0312, exact=False)
SOURCES = {"pictures": Photos()}


def duplicates(path: Path) -> None:
    group = Group(MEMBER, "most pixels", (MEMBER,) * 7)
    write_duplicates(path, [group], SOURCES, 5123)  # type: ignore[arg-type]


def outliers(path: Path) -> None:
    found = [Outlier("id", PAYLOAD, 1.25, 99.0, 0.5, 14.2, "far from all others")] * 4
    write_outliers(path, found, SOURCES, {"id": photo(160, 160)})  # type: ignore[arg-type]


def evaluation(path: Path) -> None:
    columns = ["codes", "dims", "P@5", "recall@5", "mAP", "R-prec.", "copies\nfound", "median\nrank", "eff.\nrank"]
    table = Table("2,640 queries", columns, [["network without training", "128", *["0.8100"] * 5, "1.0", "20.3"]] * 7)
    hits = [Tile(lambda: Photos().read(""), LONG, "0.5000  p99", PAYLOAD["label"], 1 + i) for i in range(5)]  # type: ignore[arg-type]
    write_html(path, [Row(hits[0], hits)], "Evaluation", ["Learning helped."], [table], "The worst queries")


def search(path: Path) -> None:
    query = Query.of(LONG, lambda: Photos().read(""), "Arla")
    found = [Result(query, [Hit("id", 0.5, PAYLOAD, 12.0, (LONG,))] * 5, no_match=True), Result(query, [])]
    write_html(path, result_rows(found, SOURCES), TITLE, [EXPLANATION, "Retrieval is weak here."])  # type: ignore[arg-type]


@pytest.mark.parametrize("size", SEEN)
@pytest.mark.parametrize("write", [duplicates, outliers, evaluation, search])
def test_nothing_is_cut_off(write: Callable[[Path], None], size: str, tmp_path: Path, page: Page) -> None:
    width, height = SEEN[size]
    page.set_viewport_size({"width": width, "height": height})
    write(tmp_path / "page.html")
    page.goto((tmp_path / "page.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(CUT) == []
    assert page.evaluate(OUTSIDE) == []
    assert page.locator("th[scope=col]").count() in (0, 9)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert violations(page) == []
    assert page.locator(".path").first.inner_text().replace("\n", "").endswith(LONG)
