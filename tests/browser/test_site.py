"""The documentation site: it builds without a warning, its links lead somewhere, and no page loads anything else."""

import functools
import http.server
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.conftest import drawn, wait

ROOT = Path(__file__).parents[2]
PAGES = ("", "docs/reference.html", "docs/benchmarks.html", "docs/architecture.html", "docs/decisions/0038-a-map.html")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built once, with all its checks."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run([ROOT / "scripts" / "docs", folder], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def site_url(site: Path) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join(10)
    server.server_close()


def test_everything_is_on_the_site(site: Path) -> None:
    records = {file.stem for file in (ROOT / "docs" / "decisions").glob("0*.md")}
    assert {file.stem for file in (site / "docs" / "decisions").glob("0*.html")} == records
    pages = {file.stem for file in (ROOT / "docs").glob("*.md")}
    assert {file.stem for file in (site / "docs").glob("*.html")} >= pages
    reference = (site / "docs" / "reference.html").read_text("utf-8")
    assert 'id="retrieval.api.Index.search"' in reference
    assert "maximum number of queries, chosen at random" in reference
    assert "<strong>limit</strong>" in reference, "a docstring's line on an argument is a field"
    assert "<svg" in (site / "docs" / "architecture.html").read_text("utf-8")


@pytest.mark.parametrize("size", [(1280, 860), (390, 844)], ids=["desk", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_load_nothing_from_elsewhere(site_url: str, browser: Browser, scheme: str, size: tuple[int, int]) -> None:
    width, height = size
    asked, said = set[str | None](), list[str]()
    with browser.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if scheme == "dark" else "light"
    ) as context:
        page = context.new_page()
        page.on("request", lambda request: asked.add(urlsplit(request.url).hostname))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        for each in PAGES:
            page.goto(site_url + each)
            drawn(page, "article h1, article img")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, each
    assert (asked, said) == ({"127.0.0.1"}, [])


def test_the_search_finds_a_page(site_url: str, page: Page, complaints: list[str]) -> None:
    page.goto(f"{site_url}search.html?q=percentile")
    wait(
        page, "() => [...document.querySelectorAll('#search-results a')].some(a => a.href.includes('docs/search.html'))"
    )
    assert complaints == []


BROKEN = {
    '<a href="gone.html">': "leads to no file",
    '<a href="#gone">': "leads to no anchor",
    '<a href="b.html#gone">': "leads to no anchor",
    '<img src="gone.png">': "leads to no file",
    '<script src="https://cdn.example/x.js">': "from another host",
    '<link rel="stylesheet" href="//fonts.example/x.css">': "from another host",
    "<style>@import 'https://fonts.example/x.css'</style>": "from another host",
}


@pytest.mark.parametrize("broken", BROKEN)
def test_what_is_broken_is_found(tmp_path: Path, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    from check_site import check_site

    (tmp_path / "b.html").write_text('<a href="a.html#here">', "utf-8")
    (tmp_path / "a.html").write_text('<p id="here"><a href="https://example.org/">', "utf-8")
    assert check_site(tmp_path) == []
    (tmp_path / "a.html").write_text(f'<p id="here">{broken}', "utf-8")
    (line,) = [line for line in check_site(tmp_path) if "leads to" not in line or "example" not in line]
    assert line.startswith(f"{tmp_path.resolve() / 'a.html'}: ")
    assert BROKEN[broken] in line
