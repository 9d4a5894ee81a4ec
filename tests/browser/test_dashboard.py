"""The Qdrant dashboard itself, where its pages are at hand: it draws our images, and runs the code of our docs."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import drawn, wait
from tests.browser.dashboard import hover_over_a_point, run_tab
from tests.cli.conftest import Ingested, copy, done_well
from tests.store import servers
from tests.web.serving import serving, settings_of

PAGES = os.environ.get("QDRANT_DASHBOARD_DIR")
OURS = "[...document.images].filter(i => i.src.includes('/images/') && i.naturalWidth)"


@pytest.mark.skipif(not PAGES, reason="NOT TESTED, for want of the dashboard's pages in $QDRANT_DASHBOARD_DIR")
@pytest.mark.usefixtures("qdrant_binary")
def test_the_dashboard_shows_images(page: Page, ingested: Ingested, pictures: Path, tmp_path: Path) -> None:
    home, storage = copy(ingested.home, tmp_path / "home"), tmp_path / "qdrant"
    storage.mkdir()
    running = servers.running(storage, QDRANT__SERVICE__STATIC_CONTENT_DIR=str(PAGES))
    with running as url, serving(settings_of(home, url)) as service:
        done_well("ingest", pictures, "--public-url", service.url, home=home, env={"QDRANT_URL": url})
        collection = f"{url}/dashboard#/collections/images"
        page.goto(collection)
        wait(page, f"() => {OURS}.length >= 5")
        run_tab(page, collection, "Visualize")
        hover_over_a_point(page)
        wait(page, f"() => {OURS}.length === 1")
        run_tab(page, collection, "Graph")
        wait(page, f"() => {OURS}.length === 1")
        service.ready()
        page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        page.goto(service.url)
        drawn(page, "#sample img", 6)
        page.locator("#sample > li a").first.click()
        page.locator("#results > .hit a.mat").first.click()
        expect(page.locator("#viewer")).to_be_visible()
        id_ = page.locator("#viewer").get_attribute("data-id")
        with page.context.expect_page() as opened:
            page.click("#viewer-dashboard")
        opened.value.get_by_placeholder("point ID").click()
        opened.value.keyboard.press("ControlOrMeta+v")
        opened.value.keyboard.press("Enter")
        expect(opened.value.get_by_text(f"Point {id_}")).to_be_visible()
        wait(opened.value, f"() => {OURS}.length === 1")
