"""What the page says when something is not as it should be, and that it goes on by itself."""

import dataclasses
import re
import shutil
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from retrieval.api import Index
from retrieval.schema.verdict import Verdict
from tests.browser.conftest import drawn, results
from tests.cli.conftest import Ingested, Trained, copy, done_well
from tests.store import servers
from tests.web.serving import Served, serving, settings_of

KEY = "a key of the tests"


def test_what_is_loaded_first_is_light(start: Page) -> None:
    sizes = start.evaluate(
        "() => performance.getEntriesByType('resource').filter(e => /[/]static[/](?!draw)/.test(e.name))"
        ".concat(performance.getEntriesByType('navigation')).map(e => e.decodedBodySize)"
    )
    assert len(sizes) > 15
    assert sum(sizes) <= 90_000


def test_no_collection_yet(page: Page, trained: Trained, tmp_path: Path) -> None:
    with serving(settings_of(copy(trained.home, tmp_path / "home"))) as service:
        page.goto(service.url)
        expect(page.locator("#message")).to_contain_text("retrieval ingest")


def test_no_model(page: Page, ingested: Ingested, tmp_path: Path) -> None:
    home = copy(ingested.home, tmp_path / "home")
    shutil.rmtree(home / "models")
    with serving(settings_of(home)) as service:
        page.goto(service.url)
        expect(page.locator("#message")).to_contain_text("model")
        drawn(page, "#sample img", 6)
        page.locator("#sample > li a").first.click()
        results(page)  # what the collection holds needs no model
        expect(page.locator("#quality")).to_contain_text("of the 5 nearest images")


def test_an_empty_collection_and_then_pictures(page: Page, ingested: Ingested, tmp_path: Path) -> None:
    home = settings_of(copy(ingested.home, tmp_path / "home"))
    with Index.open(settings=home) as index:
        collection = index.live().collection
        points = [point for found in index.store.scroll(collection, codes=True) for point in found]
        index.store.delete(collection, [point.id for point in points])
    with serving(home) as service:
        page.goto(service.url)
        expect(page.locator("#message")).to_contain_text("empty")
        with Index.open(settings=home) as index:
            index.store.upsert(collection, points)
        drawn(page, "#sample img", 6)  # it looks again by itself
        expect(page.locator("#message")).to_be_hidden()


@pytest.mark.usefixtures("qdrant_binary")
def test_the_engine_goes_and_comes_back(page: Page, ingested: Ingested, pictures: Path, tmp_path: Path) -> None:
    home, storage = copy(ingested.home, tmp_path / "home"), tmp_path / "qdrant"
    storage.mkdir()
    with servers.running(storage) as url:
        done_well("ingest", pictures, home=home, env={"QDRANT_URL": url})
        with serving(settings_of(home, url)) as service:
            service.ready()
            page.goto(service.url)
            drawn(page, "#sample img", 6)
            servers.kill(storage)
            page.set_input_files("#pick", min(pictures.glob("*/*.png")))
            expect(page.locator("#message")).to_contain_text("engine does not answer", timeout=20_000, ignore_case=True)
            port = url.rpartition(":")[2]
            assert servers.qdrant("start", "--dir", str(storage), "--http-port", port).returncode == 0
            results(page)  # it tries again by itself
            expect(page.locator("#message")).to_be_hidden()


def test_what_is_no_image(start: Page, tmp_path: Path, complaints: list[str]) -> None:
    text = tmp_path / "text.png"
    text.write_text("no picture")
    start.set_input_files("#pick", text)
    expect(start.locator("#message")).to_contain_text("not an image")
    complaints[:] = [line for line in complaints if "422" not in line]  # the browser's own line on any 4xx


def test_what_is_too_large_is_not_even_sent(start: Page, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    with large.open("wb") as file:
        file.truncate(21 * 2**20)
    start.set_input_files("#pick", large)
    expect(start.locator("#message")).to_contain_text("too large")


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (408, "took too long"),
        (413, "too large"),
        (429, "Too many requests"),
        (500, "wrong"),
        (503, "engine does not answer"),
    ],
)
def test_the_service_refuses(start: Page, pictures: Path, complaints: list[str], status: int, says: str) -> None:
    def refuse(route: Route) -> None:
        sentence = "the engine does not answer; try again in a moment" if status == 503 else "something went wrong here"
        route.fulfill(status=status, json={"error": sentence}, headers={"Retry-After": "30"})

    start.route("**/api/search", refuse)
    start.set_input_files("#pick", min(pictures.glob("*/*.png")))
    expect(start.locator("#message")).to_contain_text(re.compile(says, re.IGNORECASE))
    expect(start.locator("#live")).to_contain_text(re.compile(says, re.IGNORECASE))
    if status == 503:
        start.unroute("**/api/search")
        results(start)  # it tries again by itself
        expect(start.locator("#message")).to_be_hidden()
    complaints.clear()


def test_nothing_alike(start: Page, served: Served, pictures: Path) -> None:
    file = min(pictures.glob("*/*.png"))
    found = served.client.post("/api/search", files={"image": file.read_bytes()}).json()
    noted = {**found, "note": "nothing here looks like this"}
    start.route("**/api/search", lambda route: route.fulfill(json=noted))
    start.set_input_files("#pick", file)
    results(start)
    expect(start.locator("#message")).to_contain_text(re.compile("nothing here looks like this", re.IGNORECASE))


@pytest.mark.usefixtures("xla_cache")
def test_a_weak_collection_says_so(page: Page, ingested: Ingested, pictures: Path, tmp_path: Path) -> None:
    home = copy(ingested.home, tmp_path / "home")
    with Index.open(settings=settings_of(home)) as index:
        live = index.live()
        unknown = dataclasses.replace(live.meta, verdict=None, labelled=())
        index.store.set_metadata(live.collection, unknown)
    with serving(settings_of(home)) as service:
        page.goto(service.url)
        expect(page.locator("#quality")).to_contain_text("not measured")
    with Index.open(settings=settings_of(home)) as index:
        verdict = Verdict("P@5", 0.2, "2026-11-29T00:00:00+00:00", 200, "PCA", 0.1, helped=True)
        index.store.set_metadata(live.collection, dataclasses.replace(live.meta, verdict=verdict))
    with serving(settings_of(home)) as service:
        service.ready()
        page.goto(service.url)
        drawn(page, "#sample img", 6)
        expect(page.locator("#weak")).to_be_hidden()
        page.set_input_files("#pick", min(pictures.glob("*/*.png")))
        results(page)
        expect(page.locator("#weak")).to_have_text("Retrieval is weak here: P@5 0.2000, so most hits are wrong.")
        expect(page.locator("#live")).to_contain_text("weak")
        page.locator("h1 a").click()
        expect(page.locator("#weak")).to_be_hidden()


def test_a_slow_answer_can_be_cancelled(start: Page, pictures: Path) -> None:
    start.route("**/api/search", lambda route: None)
    start.set_input_files("#pick", min(pictures.glob("*/*.png")))
    expect(start.locator("#message")).to_contain_text(re.compile("still working", re.IGNORECASE), timeout=10_000)
    start.get_by_role("button", name="Cancel").click()
    expect(start.locator("#message")).not_to_contain_text(re.compile("still working", re.IGNORECASE))


def test_a_late_answer_never_replaces_a_newer_one(start: Page, served: Served, pictures: Path) -> None:
    first, second = sorted(pictures.glob("*/*.png"))[:2]
    held: list[Route] = []

    def hold(route: Route) -> None:
        if held:
            route.continue_()
        else:
            held.append(route)

    start.route("**/api/search", hold)
    start.set_input_files("#pick", first)
    start.wait_for_timeout(200)
    start.set_input_files("#pick", second)
    expected = [hit.id for hit in served.index.search(second.read_bytes(), 24)]
    assert results(start) == expected
    held[0].continue_()
    start.wait_for_timeout(500)
    assert results(start) == expected


def test_a_key_is_asked_for_once(page: Page, ingested: Ingested, tmp_path: Path) -> None:
    with serving(settings_of(copy(ingested.home, tmp_path / "home")), key=KEY) as service:
        page.goto(service.url)
        expect(page.locator("#key-dialog")).to_be_visible()
        page.fill("#key", "wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#key-error")).not_to_be_empty()
        page.fill("#key", KEY)
        page.keyboard.press("Enter")
        drawn(page, "#sample img", 6)
        page.reload()
        drawn(page, "#sample img", 6)
        expect(page.locator("#key-dialog")).to_be_hidden()
