"""The tools for agents, asked by the official SDK's own client: over stdio and over HTTP, on real images."""

import asyncio
import base64
import io
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, ImageContent, TextContent
from PIL import Image

from retrieval.web.limits import Limits
from tests.cli.conftest import Call, Ingested, copy, environment
from tests.web.serving import Served, serving, settings_of

pytestmark = pytest.mark.usefixtures("xla_cache")
KEY = "a-key-of-the-tests"
TOOLS = ["search_images", "find_duplicates", "find_outliers", "collection_status", "get_image"]
SECONDS = 100

Ask = Callable[[Client], Awaitable[Any]]


@pytest.fixture(scope="module")
def narrow(ingested: Ingested, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A service with a key that takes images of 1 MiB at most."""
    home = copy(ingested.home, tmp_path_factory.mktemp("narrow") / "home")
    with serving(settings_of(home), Limits(upload=2**20), key=KEY) as service:
        service.ready()
        yield service


def over_http(url: str, ask: Ask, key: str = KEY) -> Any:
    async def run() -> Any:
        async with (
            asyncio.timeout(SECONDS),
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=SECONDS, trust_env=False) as http,
            Client(streamable_http_client(f"{url}/mcp", http_client=http)) as client,
        ):
            return await ask(client)

    return asyncio.run(run())


def over_stdio(home: Path, ask: Ask) -> Any:
    async def run() -> Any:
        command = StdioServerParameters(
            command=sys.executable, args=["-m", "retrieval", "mcp"], env=environment(home), cwd=home.parent
        )
        async with asyncio.timeout(SECONDS), Client(stdio_client(command)) as client:
            return await ask(client)

    return asyncio.run(run())


def text_of(answer: CallToolResult) -> str:
    (text,) = (each.text for each in answer.content if isinstance(each, TextContent))
    return text


def refused(answer: CallToolResult, *named: object) -> None:
    """One line, with what was wrong."""
    text = text_of(answer)
    assert answer.is_error, text
    assert "\n" not in text
    assert [part for part in named if str(part) not in text] == [], text


async def use_every_tool(client: Client, digit: bytes) -> None:
    tools = (await client.list_tools()).tools
    assert [tool.name for tool in tools] == TOOLS
    assert all(tool.annotations and tool.annotations.read_only_hint and tool.description for tool in tools)

    status = (await client.call_tool("collection_status", {})).structured_content
    assert (status["state"], status["points"], status["sources"]) == ("ready", 200, ["pictures"])

    image = base64.b64encode(digit).decode()
    found = (await client.call_tool("search_images", {"image": image, "k": 3, "same": True})).structured_content
    first, *_ = found["same"]
    assert len(found["hits"]) == 3
    by_id = (await client.call_tool("search_images", {"id": first["id"], "k": 3})).structured_content
    by_path = (
        await client.call_tool("search_images", {"path": f"pictures/{first['path']}", "k": 3})
    ).structured_content
    assert [hit["id"] for hit in found["hits"]] == [hit["id"] for hit in by_id["hits"]]
    assert by_path["hits"] == by_id["hits"]

    shown = await client.call_tool("get_image", {"id": first["id"]})
    (thumbnail,) = (each for each in shown.content if isinstance(each, ImageContent))
    assert Image.open(io.BytesIO(base64.b64decode(thumbnail.data))).size == (252, 252)  # nine times as large
    assert (thumbnail.mime_type, shown.structured_content["path"]) == ("image/jpeg", first["path"])

    outliers = (await client.call_tool("find_outliers", {"limit": 4})).structured_content["outliers"]
    assert len(outliers) == 4
    assert outliers[0]["score"] >= outliers[3]["score"]
    groups = (await client.call_tool("find_duplicates", {"max_distance": 1000})).structured_content["groups"]
    assert [group["count"] for group in groups] == [200]
    assert len(groups[0]["others"]) == 20


def test_every_tool_over_http_behind_the_key(narrow: Served, digit: bytes) -> None:
    over_http(narrow.url, lambda client: use_every_tool(client, digit))
    with pytest.raises(ExceptionGroup):
        over_http(narrow.url, lambda client: client.list_tools(), "no")
    assert narrow.client.post("/mcp", headers={"X-API-Key": "no"}).status_code == 401
    assert narrow.client.get("/mcp", headers={"X-API-Key": KEY}).status_code == 405


def test_every_tool_over_stdio(ingested: Ingested, own_home: Path, digit: bytes) -> None:
    home = copy(ingested.home, own_home)
    (home.parent / "query.png").write_bytes(digit)
    (home.parent / "notes.txt").write_text("no image")
    with (home.parent / "large.png").open("wb") as file:
        file.truncate(2**25)

    async def use(client: Client) -> None:
        await use_every_tool(client, digit)
        for path in ("query.png", str(home.parent / "query.png")):
            found = await client.call_tool("search_images", {"path": path, "same": True})
            assert found.structured_content["same"][0]["source"] == "pictures"
        refused(await client.call_tool("search_images", {"path": "notes.txt"}), "image")
        refused(await client.call_tool("search_images", {"path": "large.png"}), "20 MiB")
        refused(await client.call_tool("search_images", {"path": "/no/such/file.png"}), "/no/such/file.png")

    over_stdio(home, use)


@pytest.mark.parametrize(
    ("tool", "arguments", "named"),
    [
        ("search_images", {"id": "x", "k": 10**6}, ["id"]),
        ("search_images", {"path": "pictures/3/0.png", "k": 10**6}, ["k", "200"]),
        ("search_images", {"k": "many", "path": "a"}, ["k", "integer"]),
        ("search_images", {}, ["path, image, id, like"]),
        ("search_images", {"path": "a", "image": "b"}, ["path, image, id, like"]),
        ("search_images", {"image": "rubbish!"}, ["base64"]),
        ("search_images", {"image": base64.b64encode(b"rubbish").decode()}, ["image"]),
        ("search_images", {"path": "/etc/passwd"}, ["no such image"]),
        ("search_images", {"path": "nothing/3.png"}, ["no such image"]),
        ("search_images", {"path": "pictures/3/0.png", "filter": "label="}, ["filter"]),
        ("search_images", {"path": "pictures/3/0.png", "limit": 3}, ["limit"]),
        ("find_outliers", {"limit": 10**6}, ["limit", "100"]),
        ("find_duplicates", {"max_distance": "far"}, ["max_distance"]),
        ("get_image", {"id": "00000000-0000-5000-8000-000000000000"}, ["no such image"]),
        ("get_image", {"id": "../../etc/passwd"}, ["id"]),
        ("drop_collection", {}, ["drop_collection", "search_images"]),
    ],
)
def test_rubbish_is_refused_in_one_line(narrow: Served, tool: str, arguments: dict[str, Any], named: list[str]) -> None:
    refused(over_http(narrow.url, lambda client: client.call_tool(tool, arguments)), *named)


def test_a_message_that_is_none_is_refused(narrow: Served) -> None:
    headers = {"Content-Type": "application/json", "Accept": "application/json", "X-API-Key": KEY}
    for sent in (b"rubbish", b"{}", b"[" * 10_000, b'{"jsonrpc": "2.0", "id": 1, "method": "no/such"}'):
        answer = narrow.client.post("/mcp", content=sent, headers=headers)
        assert answer.json()["error"]["message"], answer.text
    assert narrow.client.post("/mcp", content=bytes(4 * 2**20), headers=headers).status_code == 413


def test_the_extra_is_named_when_it_is_missing(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "retrieval.web.agents", raising=False)
    monkeypatch.setitem(sys.modules, "mcp_types", None)
    said = call("mcp").error(2, "mcp_types, which is not installed")
    assert said.endswith("; pip install 'retrieval-images[mcp]'")
