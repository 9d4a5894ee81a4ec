"""Every way to ask, and the way back."""

import base64
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import SECONDS, drawn, results, wait
from tests.web.serving import Served
from tests.web.test_browse import walk

K = 20
HITS = 24
"""With the query's own image before them they fill rows of five."""


def expected(served: Served, file: bytes) -> list[str]:
    return [hit.id for hit in served.index.search(file, HITS)]


@pytest.fixture
def file(pictures: Path) -> Path:
    return min(pictures.glob("5/*.png"))


GIVE = """([data, name, kind]) => {
  const bytes = Uint8Array.from(atob(data), c => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, {type: 'image/png'}));
  const event = kind === 'paste'
    ? new ClipboardEvent('paste', {clipboardData: transfer, bubbles: true, cancelable: true})
    : new DragEvent('drop', {dataTransfer: transfer, bubbles: true, cancelable: true});
  document.querySelector('main').dispatchEvent(event);
}"""


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_dropped_or_pasted(start: Page, served: Served, file: Path, kind: str) -> None:
    start.evaluate(GIVE, [base64.b64encode(file.read_bytes()).decode(), file.name, kind])
    assert results(start) == expected(served, file.read_bytes())


def test_picked_with_all_that_is_to_be_seen(start: Page, served: Served, file: Path) -> None:
    start.set_input_files("#pick", file)
    assert results(start) == expected(served, file.read_bytes())
    found = served.index.search(file.read_bytes(), K)
    first = start.locator("#results > .hit").first
    share = found[0].percentile
    assert share is not None
    words = {50: "very close", 90: "close", 99.5: "less close"}
    expect(first).to_contain_text(next((word for most, word in words.items() if share <= most), "far"))
    figures = f"distance {found[0].distance:.4f}, nearer than {round(100 - share)}% of neighbours here"
    expect(first.get_by_title(figures).first).to_be_visible()
    expect(first).to_contain_text(str(found[0].label))
    expect(start.locator("#meaning")).to_contain_text("the fuller the bar, the nearer", ignore_case=True)
    expect(start.locator("#quality")).to_contain_text("of the 5 nearest images have the query's label, measured")
    own = served.index.search(file.read_bytes(), include_self=True)[0]
    expect(start.locator("#results > li").first).to_contain_text("This very image is here")
    expect(start.locator("#results > li").first).to_contain_text(Path(own.path).name)
    drawn(start, "#query-image")
    drawn(start, "#reconstruction")
    assert (
        start.evaluate("() => getComputedStyle(document.querySelector('#results img')).imageRendering") == "pixelated"
    )


def test_drawn(start: Page) -> None:
    box = start.locator("#canvas").bounding_box()
    assert box
    middle = box["x"] + box["width"] / 2
    start.mouse.move(middle, box["y"] + 0.2 * box["height"])
    start.mouse.down()
    start.mouse.move(middle, box["y"] + 0.8 * box["height"], steps=8)
    start.mouse.up()
    start.click("#draw-search")
    results(start)
    labels = start.locator("#results > .hit .label").all_inner_texts()
    assert labels.count("1") > len(labels) / 2, "a stroke is a one"


def test_clicked_shared_and_back(start: Page, served: Served, file: Path) -> None:
    start.set_input_files("#pick", file)
    uploaded = results(start)
    start.locator("#results > .hit a").first.click()
    wait(start, "() => document.querySelector('#viewer-image')?.src.includes('.png?v=')")  # small: its own pixels
    drawn(start, "#viewer-image")
    drawn(start, "#viewer-decoded img")
    point = served.index.points([uploaded[0]])[uploaded[0]]
    expect(start.locator("#viewer-name")).to_have_text(point.name)
    expect(start.locator("#viewer-facts")).to_contain_text("28 × 28 pixels")
    with start.expect_download() as got:
        start.click("#viewer-file")
    assert got.value.suggested_filename == Path(str(point.payload["path"])).name
    assert Path(got.value.path()).read_bytes() == served.index.image(point)
    start.click("#viewer-on")
    expect(start.locator("#viewer-count")).to_have_text(f"3 of {HITS + 1}")
    start.click("#viewer-back")
    start.click("#viewer-similar")
    wait(start, "() => location.search.includes('id=')")
    wait(start, f"() => document.querySelector('#results > .hit')?.dataset.id !== {uploaded[0]!r}")
    clicked = results(start)
    assert clicked != uploaded
    other = start.context.new_page()
    other.goto(start.url)
    assert results(other) == clicked
    start.go_back()
    wait(start, f"() => document.querySelector('#results > .hit')?.dataset.id === {uploaded[0]!r}")
    assert results(start) == uploaded
    start.go_back()
    drawn(start, "#sample img", 6)
    start.go_forward()
    assert results(start) == uploaded


def test_started_from_a_random_picture_and_shuffled(start: Page) -> None:
    shown = start.evaluate("() => [...document.querySelectorAll('#sample > li')].map(i => i.dataset.id).join()")
    start.click("#others")  # one of the new images may be at its old place
    wait(start, f"() => [...document.querySelectorAll('#sample > li')].map(i => i.dataset.id).join() !== {shown!r}")
    drawn(start, "#sample img", 6)
    start.locator("#sample > li a").first.click()
    results(start)


def test_browsed_by_name_filtered_and_on(start: Page, served: Served) -> None:
    names = sorted(f"{each['source']}/{each['path']}" for each in walk(served, order="name"))
    start.set_viewport_size({"width": 1280, "height": 500})
    start.select_option("#order", "name")
    first = start.locator("#sample > li a").first
    expect(first).to_have_attribute("aria-label", re.compile(rf"^{names[0]}, label"))
    expect(start.locator("#title")).to_have_text(f"{len(names)} images")
    assert "order=name" in start.url
    before = start.locator("#sample > li").count()
    start.mouse.move(800, 300)
    start.mouse.wheel(0, 20_000)
    wait(start, f"() => document.querySelectorAll('#sample > li').length > {before}")
    for _ in range(1000):  # what is loaded while one scrolls hides the button
        if start.locator("#sample > li").count() == len(names):
            break
        start.mouse.wheel(0, 20_000)
        start.wait_for_timeout(50)
    shown = start.evaluate("() => [...document.querySelectorAll('#sample > li a')].map(a => a.title.split(', ')[0])")
    assert shown == names
    box = start.locator("#filter-fields [name=label][value='5']")
    box.check()
    expect(first).to_have_attribute("aria-label", re.compile("label 5$"))
    expect(start.locator("#title")).not_to_have_text(f"{len(names)} images")
    first.click()
    results(start)
    assert set(start.locator("#results > .hit .label").all_inner_texts()) == {"5"}, "the search keeps the filter"


def test_the_map_is_clicked_and_drawn_on(start: Page, served: Served) -> None:
    start.select_option("#order", "map")
    title = start.locator("#title")
    expect(title).to_have_text(re.compile(r"\d+ images on the map"), timeout=4000 * SECONDS)
    wait(start, "() => document.querySelector('#sample canvas')?.width > 300")  # its styles have come
    box = start.locator("#sample canvas").bounding_box()
    assert box
    found = served.client.get("/api/map").json()
    scale = (min(box["width"], box["height"]) - 40) / 65535
    west = box["x"] + (box["width"] - 65535 * scale) / 2
    north = box["y"] + (box["height"] - 65535 * scale) / 2
    places = [(west + x * scale, north + y * scale) for x, y in zip(found["x"], found["y"], strict=True)]
    at = min(range(len(places)), key=lambda one: places[one][1])  # the topmost: nothing is above it
    left, top = places[at]
    corners = [(left - 12, top - 12), (left + 12, top - 12), (left + 12, top + 5), (left - 12, top + 5)]
    inside = {
        id_ for id_, (x, y) in zip(found["ids"], places, strict=True) if abs(x - left) < 12 and top - 12 < y < top + 5
    }
    start.keyboard.down("Shift")
    start.mouse.move(*corners[0])
    start.mouse.down()
    for corner in corners[1:]:
        start.mouse.move(*corner, steps=5)
    start.mouse.up()
    start.keyboard.up("Shift")
    expect(title).to_have_text(f"{len(inside)} image{'s' * (len(inside) > 1)}")
    shown = set(start.evaluate("() => [...document.querySelectorAll('#sample > li')].map(i => i.dataset.id)"))
    assert len(shown ^ inside) <= 1, "one may lie on the edge"
    assert "id in (" in start.locator("[name=where]").input_value()
    start.go_back()
    wait(start, "() => document.querySelector('#sample canvas')?.width > 300")
    start.mouse.click(left, top)
    wait(start, f"() => location.search.includes({found['ids'][at]!r})")
    results(start)


def test_more_and_less_like(start: Page, served: Served, file: Path) -> None:
    start.goto(f"{served.url}/?id={served.index.search(file.read_bytes(), include_self=True)[0].id}")
    before = results(start)
    start.locator("#results > .hit").nth(4).locator("[data-example=unlike]").click()
    wait(start, "() => document.querySelectorAll('#like-chips > li').length === 2")
    wait(start, "() => document.querySelector('#results > .hit')?.dataset.id && !document.querySelector('[data-busy]')")
    wait(start, f"() => ![...document.querySelectorAll('#results > .hit')].some(i => i.dataset.id === {before[4]!r})")
    assert "like=" in start.url
    assert "unlike=" in start.url
    start.locator("#like-chips button").last.click()
    wait(start, f"() => document.querySelector('#results > .hit')?.dataset.id === {before[0]!r}")


def test_a_line_of_the_filter_language_with_its_caret(page: Page, served: Served, file: Path) -> None:
    """No complaints are counted: the browser reports each 400."""
    page.goto(f"{served.url}/?id={served.index.search(file.read_bytes(), include_self=True)[0].id}&path=5/&size=9")
    assert results(page)
    page.evaluate("() => { document.querySelector('#filters').open = true; }")
    line = page.locator("[name=where]")
    line.fill("label=5 and widht>")
    line.press("Enter")
    expect(page.locator("#where-error")).to_have_text(f"label=5 and widht>\n{18 * ' '}^", use_inner_text=True)
    expect(page.locator("#message pre")).to_contain_text('path~"5/*"')
    line.fill("label=5 or label=6")
    line.press("Enter")
    assert results(page)
    expect(page.locator("#where-error")).to_be_hidden()
    assert set(page.locator("#results > .hit .label").all_inner_texts()) == {"5"}, "all conditions hold"


def test_filters_with_counts(start: Page, served: Served, file: Path) -> None:
    start.set_input_files("#pick", file)
    results(start)
    start.evaluate("() => { document.querySelector('#filters').open = true; }")
    count = served.client.get("/api/facets").json()["label"][0]
    box = start.locator(f"#filter-fields [name=label][value='{count['value']}']")
    expect(start.locator("#filter-fields")).to_contain_text(str(count["count"]))
    box.check()
    wait(start, "() => location.search.includes('label=')")
    wait(
        start,
        "() => { const l = [...document.querySelectorAll('#results > .hit .label')].map(e => e.textContent);"
        f" return l.length > 0 && l.every(t => t === {count['value']!r}); }}",
    )
    drawn(start, "#results img")
    expect(box.locator("..").locator(".number")).to_have_text(re.compile(rf"\d+ of {count['count']}"))
    start.get_by_role("searchbox").fill("pict")
    expect(start.locator("#filter-fields .value")).to_have_text([count["value"], "pictures"])  # what is ticked stays


def test_an_upload_stays_when_it_is_refined(start: Page, served: Served, file: Path) -> None:
    start.set_input_files("#pick", file)
    before = results(start)
    last = before[-1]
    start.locator("#results > .hit a").first.click()
    wait(start, "() => document.querySelector('#viewer').open")
    start.keyboard.press("End")
    start.locator("#viewer [data-example=like]").click()
    wait(start, "() => document.querySelectorAll('#like-chips > li').length === 1")
    wait(start, f"() => ![...document.querySelectorAll('#results > .hit')].some(i => i.dataset.id === {last!r})")
    start.wait_for_timeout(200)
    assert start.evaluate("() => document.querySelector('#title').getBoundingClientRect().top") >= 0, "scrolled to them"
    liked = served.index.image(served.index.points([last])[last])
    assert results(start) == [hit.id for hit in served.index.like([file.read_bytes(), liked], k=K)]
    drawn(start, "#query-image")


def test_several_uploads_a_row_each(start: Page, served: Served, pictures: Path) -> None:
    files = sorted(pictures.glob("*/*.png"))[:30:10]
    start.set_input_files("#pick", files)
    wait(start, "() => document.querySelectorAll('#batch > li:not([aria-busy])').length === 3")
    drawn(start, "#batch .row img", 27)
    for row, file in zip(start.locator("#batch > li").all(), files, strict=True):
        ids = row.locator("[data-id]").evaluate_all("all => all.map(i => i.dataset.id)")
        assert ids[1:] == [hit.id for hit in served.index.search(file.read_bytes(), 8)]
        expect(row).to_contain_text("this very image is here")
    expect(start.locator("#title")).to_have_text("3 images: 3 of them in the collection")
    start.locator("#batch [data-upload]").nth(1).click()
    assert results(start) == expected(served, files[1].read_bytes())
    start.go_back()
    expect(start.locator("#title")).to_have_text("3 images: 3 of them in the collection")
    start.locator("#recent button").first.click()
    assert results(start) == expected(served, files[1].read_bytes())


def test_several_images_selected(start: Page, served: Served, file: Path) -> None:
    start.set_input_files("#pick", file)
    chosen = results(start)[1:3]
    start.locator("#results > .hit").nth(1).locator("[data-select]").click()
    start.locator(f"#results [data-id='{chosen[1]}'] > a").focus()
    start.keyboard.press("x")
    expect(start.locator("#selection-count")).to_have_text("2 images selected")
    with start.expect_download() as got:
        start.click("#selection-save")
    points = served.index.points(chosen)
    assert Path(got.value.path()).read_text().splitlines() == [points[each].name for each in chosen]
    start.click("#selection-search")
    wait(start, "() => document.querySelectorAll('#like-chips > li').length === 2")
    assert all(f"like={each}" in start.url for each in chosen)
