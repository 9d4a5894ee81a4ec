"""The page in a real browser, on a real service with the two hundred digits."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Page

from tests.cli.conftest import Ingested, copy, ingested, pictures, trained  # noqa: F401 - fixtures
from tests.conftest import need
from tests.web.serving import Served, serving, settings_of

BRING = Path(__file__).parents[2] / "scripts" / "bring"
SECONDS = 30


@pytest.fixture(scope="session")
def browser_path() -> str:
    """A browser, brought if need be."""
    found = subprocess.run([BRING, "chromium"], capture_output=True, text=True, timeout=900, check=False)
    need(found.returncode == 0, f"a browser ({found.stderr.strip()})")
    return found.stdout.strip()


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_path: str) -> dict[str, Any]:
    """Without what a test machine lacks, and without calls to anywhere."""
    flags = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    more = "--disable-component-update --disable-sync"
    return {"executable_path": browser_path, "args": f"{flags} {more}".split()}


@pytest.fixture(scope="session")
def base_url() -> None:
    """Each test says where it goes."""


@pytest.fixture(scope="module")
def served(ingested: Ingested, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:  # noqa: F811
    """Ready to answer. Not to be changed."""
    own = copy(ingested.home, tmp_path_factory.mktemp("served") / "home")
    with serving(settings_of(own)) as service:
        service.ready()
        yield service


@pytest.fixture
def complaints(page: Page) -> list[str]:
    """What the browser complains of: errors of scripts, refused policies, failed requests."""
    found: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            found.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


@pytest.fixture
def start(page: Page, served: Served, complaints: list[str]) -> Iterator[Page]:
    """The page, just opened; it must end without a complaint, and with every picture drawn."""
    page.set_default_timeout(1000 * SECONDS)
    page.goto(served.url)
    drawn(page, "#sample img", 6)
    yield page
    assert complaints == []


def drawn(page: Page, selector: str, least: int = 1) -> None:
    """Wait until there are so many pictures, and every one that can be seen has really been drawn."""
    wait(page, f"() => document.querySelectorAll({selector!r}).length >= {least}")
    wait(
        page,
        "() => [...document.images].filter(i => i.checkVisibility() && i.getBoundingClientRect().top < innerHeight)"
        ".every(i => i.complete && i.naturalWidth > 0)",
    )


def wait(page: Page, condition: str) -> None:
    """Poll: under a strict policy the page's own `wait_for_function` is refused."""
    for _ in range(50 * SECONDS):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(20)
    raise AssertionError(f"not in time: {condition}")


def violations(page: Page) -> list[str]:
    """What axe finds wrong."""
    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {[node['html'] for node in each['nodes']][:3]}" for each in found]


def results(page: Page) -> list[str]:
    """Ids of the hits shown, in their order, without the query's own image."""
    wait(page, "() => document.querySelectorAll('#results > .hit').length > 0")
    drawn(page, "#results img")
    ids: list[str] = page.evaluate("() => [...document.querySelectorAll('#results > .hit')].map(i => i.dataset.id)")
    return ids
