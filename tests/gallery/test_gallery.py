"""Galleries: everything escaped, nothing fetched, a missing image is a tile and not an error, cuts are announced."""

import base64
import hashlib
import io
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from retrieval.errors import BadImage, RetrievalError
from retrieval.gallery import page, sheet
from retrieval.gallery.page import write_html
from retrieval.gallery.rows import Row, Table, Tile
from retrieval.gallery.sheet import write_png
from tests.errors import raises
from tests.images.samples import file, noise, photo

DIGIT = file(noise(28, 28, 1)[..., 0])
PHOTO = file(photo(480, 640), "JPEG")


def gone() -> bytes:
    raise BadImage("gone.png", "no such file")


def row(hits: int = 2, **fields: object) -> Row:
    tiles = [Tile(lambda: PHOTO, f"cats/{i}.jpg", f"{0.5 + i:.4f}", "cat", 1 + i) for i in range(hits)]
    query = Tile(**{"read": lambda: DIGIT, "name": "q.png", "head": "query", "label": "dog", **fields})  # type: ignore[arg-type]
    return Row(query, tiles, "nothing else in the collection")


class Page(HTMLParser):
    """The elements of a page, each with its attributes, and the text that a reader sees."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.source = path.read_text("utf-8")
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def html(tmp_path: Path, *rows: Row, **fields: Any) -> Page:
    write_html(tmp_path / "gallery.html", rows, **{"title": "Nearest images", **fields})
    return Page(tmp_path / "gallery.html")


def png(tmp_path: Path, *rows: Row) -> Image.Image:
    write_png(tmp_path / "gallery.png", rows)
    return Image.open(tmp_path / "gallery.png").convert("RGB")


def pixels_of(source: str | None) -> np.ndarray:
    assert source is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB"))


def test_a_page_shows_every_picture_with_rank_distance_and_path(tmp_path: Path) -> None:
    found = html(tmp_path, row(), title="Cats & dogs")
    images = found.all("img")
    assert [image["alt"] for image in images] == [
        "query: q.png",
        "hit 1, 0.5000: cats/0.jpg",
        "hit 2, 1.5000: cats/1.jpg",
    ]
    assert "Cats & dogs" in found.text
    for image in images:
        shape = pixels_of(image["src"]).shape
        assert (str(shape[1]), str(shape[0])) == (image["width"], image["height"])
        assert max(shape) <= page.SIDE


def test_a_tiny_picture_is_crisp_and_a_photo_small(tmp_path: Path) -> None:
    query, hit, _ = html(tmp_path, row()).all("img")
    assert (query["class"], hit["class"]) == ("tiny", "photo")
    np.testing.assert_array_equal(pixels_of(query["src"])[::6, ::6, 0], noise(28, 28, 1)[..., 0])
    assert len(hit["src"] or "") < 15_000


def test_a_long_path_is_whole_and_breaks_after_a_slash(tmp_path: Path) -> None:
    name = "cats/" + "a-folder-with-a-long-name/" * 6 + "7.jpg"
    found = html(tmp_path, row(name=name))
    assert name in found.text
    assert len(found.all("wbr")) == 7 + 2


def test_a_page_asks_nobody_for_anything(tmp_path: Path) -> None:
    found = html(tmp_path, row(), row(0), row(read=None), pairs=True)
    assert not {"script", "link", "iframe", "object", "form", "a"} & {tag for tag, _ in found.elements}
    assert all((image["src"] or "").startswith("data:image/") for image in found.all("img"))
    assert not re.search(r"https?:|url\(|@import", found.source)
    policy = next(meta["content"] or "" for meta in found.all("meta") if "http-equiv" in meta)
    style = found.source.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy.split("; ")[:3] == ["default-src 'none'", "img-src data:", f"style-src 'sha256-{digest}'"]
    assert not any("style" in attributes for _, attributes in found.elements)


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\"'><img src=x onerror=y>${title}\udcff\n"
    tile = Tile(gone, evil, evil, evil, 1, [evil])
    rows = [Row(Tile(lambda: DIGIT, evil, evil, evil), [tile]), Row(Tile(None, evil, evil), [], evil)]
    found = html(tmp_path, *rows, title=evil, notes=[evil], rows_title=evil)
    write_png(tmp_path / "gallery.png", rows, title=evil, notes=[evil])
    assert not found.all("script")
    assert len(found.all("img")) == 1
    assert found.text.count("alert(1)</script>") >= 14


@pytest.mark.parametrize("read", [None, gone, lambda: b"", lambda: PHOTO[:200]], ids=["none", "gone", "empty", "cut"])
def test_a_missing_picture_is_an_empty_tile(tmp_path: Path, read: object) -> None:
    missing = Row(Tile(read, "q.png", "query"), [Tile(read, "cats/7.png", "0.2500", rank=1)])  # type: ignore[arg-type]
    found = html(tmp_path, missing)
    assert not found.all("img")
    assert [span["aria-label"] for span in found.all("span") if "role" in span] == [
        "query: q.png, no image",
        "hit 1, 0.2500: cats/7.png, no image",
    ]
    assert png(tmp_path, missing).width >= 700


def test_no_hits_say_why(tmp_path: Path) -> None:
    assert "nothing else in the collection" in html(tmp_path, row(0)).text


def test_labels_that_agree_are_told_from_those_that_do_not(tmp_path: Path) -> None:
    hits = [Tile(None, "s/a", "1.0000", label) for label in ("dog", "cat", None)]
    spans = html(tmp_path, Row(Tile(None, "q", "query", "dog"), hits)).all("span")
    kinds = [span["class"] for span in spans if (span.get("class") or "").startswith("label")]
    assert kinds == ["label ", "label same", "label other"]


def test_tables_and_notes_of_queries_are_shown_escaped(tmp_path: Path) -> None:
    numbers = Table("<b>Scores</b>", ["codes", "P@5"], [["raw <i>", "0.9"], ["PCA", "0.8"]])
    found = html(tmp_path, row(facts=["<u>worst</u>"]), tables=[numbers], rows_title="The worst")
    assert [cell["scope"] for cell in found.all("th")] == ["col", "col", "row", "row"]
    assert [cell["data-column"] for cell in found.all("td")] == ["P@5", "P@5"]
    for text in ("<b>Scores</b>", "raw <i>", "0.9", "PCA", "<u>worst</u>", "The worst"):
        assert text in found.text


def test_what_is_cut_from_a_page_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MAX_IMAGES", 7)
    monkeypatch.setattr(page, "MAX_HITS", 2)
    found = html(tmp_path, *[row(5)] * 4)
    assert len(found.all("section")) == 2
    assert len(found.all("img")) == 6
    assert "Cut to the first 2 of 4 rows and at most 2 of 5 images in each." in found.text


def test_a_contact_sheet_is_cut_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def record(lines: object, title: str, notes: list[str]) -> bytes:
        told.extend(notes)
        return b""

    monkeypatch.setattr(sheet, "contact_sheet", record)
    write_png(tmp_path / "gallery.png", [row(12)] * 41)
    assert told[-1] == "Cut to the first 40 of 41 rows and at most 10 of 12 images in each."


def test_nothing_is_cut_without_need(tmp_path: Path) -> None:
    assert "Cut to" not in html(tmp_path, *[row()] * 3).text


def test_a_contact_sheet_shows_the_digit_square_by_square(tmp_path: Path) -> None:
    drawn = np.asarray(png(tmp_path, row()))
    expected = noise(28, 28, 1)[..., 0].repeat(5, axis=0).repeat(5, axis=1)
    left = 36 + 12
    rows = [top for top in range(drawn.shape[0] - 140) if (drawn[top : top + 140, left, 0] == expected[:, 0]).all()]
    assert len(rows) == 1
    np.testing.assert_array_equal(drawn[rows[0] : rows[0] + 140, left : left + 140, 1], expected)


@pytest.mark.parametrize("write", [write_html, write_png])
def test_a_gallery_appears_whole_or_not_at_all(write: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(write)
    path = tmp_path / "gallery"
    path.write_text("the old one")

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with raises(RetrievalError, path, "No space left on device", hint=""):
        write(path, [row()], "Nearest images")
    assert [item.name for item in tmp_path.iterdir() if item.is_file()] == ["gallery"]
    assert path.read_text() == "the old one"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "gallery.html"
    with raises(RetrievalError, path, "No such file or directory", hint=""):
        write_html(path, [row()], "Nearest images")


def test_a_gallery_is_readable_by_whom_the_umask_allows(tmp_path: Path) -> None:
    old = os.umask(0o022)
    try:
        write_html(tmp_path / "gallery.html", [row()], "Nearest images")
    finally:
        os.umask(old)
    assert (tmp_path / "gallery.html").stat().st_mode & 0o777 == 0o644
