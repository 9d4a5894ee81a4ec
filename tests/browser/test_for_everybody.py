"""Keyboard, screen reader, phone, dark: the same page for everybody."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import drawn, results, violations, wait
from tests.web.serving import Served

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, DESK], ids=["phone", "desk"])
def test_axe_finds_nothing_and_nothing_sticks_out(
    browser: Browser, served: Served, pictures: Path, scheme: str, size: dict[str, int]
) -> None:
    context = browser.new_context(viewport=size, color_scheme=scheme, has_touch=size is PHONE)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(served.url)
    drawn(page, "#sample img", 6)
    assert violations(page) == []
    fits(page)
    page.set_input_files("#pick", min(pictures.glob("*/*.png")))
    results(page)
    assert page.evaluate(LAST_ROW) == 0, "the last row is as full as the others"
    top = page.evaluate("() => document.querySelector('#results').getBoundingClientRect().top")
    assert top < 200, "the results come first"
    page.set_viewport_size({"width": size["width"] + 200, "height": size["height"]})
    wait(page, f"() => ({LAST_ROW})() === 0 && !document.querySelector('[aria-busy]')")
    page.set_viewport_size(size)  # type: ignore[arg-type]
    results(page)
    assert violations(page) == []
    fits(page)
    for opened in ("#help-open", "#results .hit a"):
        page.locator(opened).first.click()
        wait(page, "() => document.querySelectorAll('dialog[open]').length === 1")
        assert violations(page) == []
        fits(page)
        page.keyboard.press("Escape")
    page.keyboard.press("x")
    expect(page.locator("#selection")).to_be_visible()
    assert violations(page) == []
    page.set_input_files("#pick", sorted(pictures.glob("*/*.png"))[:2])
    wait(page, "() => document.querySelectorAll('#batch > li:not([aria-busy])').length === 2")
    drawn(page, "#batch img")
    assert violations(page) == []
    fits(page)
    page.goto(f"{served.url}/?order=name&label=5")
    drawn(page, "#sample img", 6)
    page.evaluate("() => { for (const each of document.querySelectorAll('#filters')) each.open = true; }")
    assert violations(page) == []
    fits(page)
    dark = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", dark)[:3])) < 380) == (scheme == "dark")
    context.close()


LAST_ROW = """() => {
  const list = document.querySelector('#results');
  return list.childElementCount % getComputedStyle(list).gridTemplateColumns.split(' ').length;
}"""


def fits(page: Page) -> None:
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), "it scrolls sideways"


def test_by_keyboard_alone(start: Page) -> None:
    start.keyboard.press("Tab")
    assert start.evaluate("() => document.activeElement.className") == "skip"
    for _ in range(40):
        start.keyboard.press("Tab")
        if start.evaluate("() => !!document.activeElement.closest('#sample')"):
            break
    outline = start.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none", "where the focus is must be seen"
    start.keyboard.press("Enter")
    found = results(start)
    start.keyboard.press("/")
    assert start.evaluate("() => document.activeElement.id") == "pick"
    for _ in range(40):
        start.keyboard.press("Tab")
        if start.evaluate("() => document.activeElement.matches('#results a')"):
            break
    start.keyboard.press("ArrowRight")
    start.keyboard.press("ArrowDown")
    start.keyboard.press("ArrowUp")
    assert focused(start) == found[0], "the query's own image was before it"
    start.keyboard.press("Enter")
    expect(start.locator("#viewer")).to_be_visible()
    start.keyboard.press("ArrowRight")
    start.keyboard.press("Escape")
    expect(start.locator("#viewer")).to_be_hidden()
    assert focused(start) == found[1], "where the viewer was left"
    start.keyboard.press("?")
    expect(start.locator("#help")).to_be_visible()
    start.keyboard.press("Escape")
    start.keyboard.press("Enter")
    expect(start.locator("#viewer")).to_be_visible()
    start.keyboard.press("Enter")
    wait(start, f"() => location.search.includes({found[1]!r})")
    results(start)


def focused(page: Page) -> str:
    return str(page.evaluate("() => document.activeElement.closest('li').dataset.id"))


def test_a_screen_reader_is_told(start: Page, pictures: Path) -> None:
    start.set_input_files("#pick", min(pictures.glob("*/*.png")))
    results(start)
    expect(start.locator("#live")).to_contain_text("24 results")
    name = start.locator("#results > .hit a").first.get_attribute("aria-label") or ""
    assert re.match(r"Result 1: pictures/\d/\d+\.png, distance \d\.\d{4}", name)


def test_the_api_is_described_offline(start: Page, served: Served) -> None:
    start.goto(f"{served.url}/docs")
    expect(start.locator("body")).to_contain_text("/api/search")
    assert violations(start) == []
