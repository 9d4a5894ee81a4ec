"""The Qdrant dashboard itself, where its pages are at hand: it draws our pictures."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import wait
from tests.cli.conftest import Ingested, copy, done_well
from tests.store import servers
from tests.web.serving import serving, settings_of

PAGES = os.environ.get("QDRANT_DASHBOARD_DIR")


@pytest.mark.skipif(not PAGES, reason="NOT TESTED, for want of the dashboard's pages in $QDRANT_DASHBOARD_DIR")
@pytest.mark.usefixtures("qdrant_binary")
def test_the_dashboard_shows_pictures(page: Page, ingested: Ingested, pictures: Path, tmp_path: Path) -> None:
    home, storage = copy(ingested.home, tmp_path / "home"), tmp_path / "qdrant"
    storage.mkdir()
    running = servers.running(storage, QDRANT__SERVICE__STATIC_CONTENT_DIR=str(PAGES))
    with running as url, serving(settings_of(home, url)) as service:
        done_well("ingest", pictures, "--public-url", service.url, home=home, env={"QDRANT_URL": url})
        page.goto(f"{url}/dashboard#/collections/images")
        ours = "[...document.images].filter(i => i.src.includes('/images/') && i.naturalWidth)"
        wait(page, f"() => {ours}.length >= 5")
