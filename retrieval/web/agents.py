"""Tools for agents (Model Context Protocol): what the HTTP API answers, by the same functions and limits."""

import base64
import binascii
import json
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import mcp_types as types
from mcp.server import Server
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException

from retrieval import __version__
from retrieval.errors import RetrievalError, UsageError
from retrieval.schema.records import point_id
from retrieval.web.errors import DEFECT, client_message, status_of, too_busy
from retrieval.web.limits import MAX_FOUND, MAX_OTHERS
from retrieval.web.middleware.body_limits import format_size
from retrieval.web.requests import PointId, SearchRequest, Upload, check_ways, first_problem
from retrieval.web.routes.images import THUMBNAIL, draw_new, find_rendition
from retrieval.web.routes.search import answer_search, options_of
from retrieval.web.service import Service, client_of

PATH = "/mcp"
INSTRUCTIONS = (
    "Finds images that look like a given image, in one collection. Distances are Euclidean: smaller is nearer, 0 is the"
    " same content. Read `note` and `weak` of a search before you trust its hits. Show images with get_image."
)
WAYS = "path, image, id, like"
READ_ONLY = types.ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
LOG = logging.getLogger("retrieval.web")


class NoArguments(BaseModel):
    """Of a tool that takes none."""

    model_config = ConfigDict(extra="forbid")


class SearchArguments(SearchRequest):
    """As `POST /api/search`, and images by their path or their bytes."""

    path: str | None = Field(
        None,
        max_length=4096,
        description="An image of the collection as SOURCE/PATH. Over stdio also an image file on this machine.",
    )
    image: str | None = Field(None, description="An image file's bytes, in base64.")


class ImageArguments(NoArguments):
    """Which image."""

    id: PointId = Field(description="An image of the collection, as in the hits of a search.")


class OutlierArguments(NoArguments):
    """How many."""

    limit: int = Field(20, ge=1, le=MAX_FOUND, description="Maximum number of results.")


class DuplicateArguments(OutlierArguments):
    """How many, and how near."""

    max_distance: float | None = Field(
        None, ge=0, description="Count images up to this distance apart as duplicates, without comparing their pixels."
    )


class Job:
    """Runs one search of the whole collection at a time, in a thread, for as long as a request may take."""

    def __init__(self, service: Service) -> None:
        self._service, self._turn = service, threading.Lock()

    async def run(self, name: str, function: Callable[[Callable[..., None]], Any]) -> Any:
        """Run a function, which gets a callback to report its progress to.

        name: the command that does the same without a limit on its time
        Raises HTTPException 503 when one runs already, and when the time is up.
        """
        seconds = 0.9 * self._service.limits.request_seconds
        end = time.monotonic() + seconds

        def check_time(*_: object) -> None:
            if time.monotonic() > end:
                raise HTTPException(503, f"it takes more than {seconds:.0f} s here; use `retrieval {name}`")

        def work() -> Any:
            if not self._turn.acquire(blocking=False):
                raise too_busy()
            try:
                return function(check_time)
            finally:
                self._turn.release()

        return await self._service.run(self._service.asking, work)


class Tools:
    """The tools, on a running service.

    files: whether the client may name files of this machine
    """

    def __init__(self, service: Service, *, files: bool) -> None:
        self._service, self._files, self._job = service, files, Job(service)

    async def search_images(self, ask: SearchArguments, client: str) -> dict[str, Any]:
        """Find the images nearest to one: by `path`, by `id`, by its bytes (`image`), or to be `like` some images.

        Each hit has its id, distance, percentile (how near for this collection), source and path.
        """
        if ask.path is not None and (ask.image is not None or ask.id is not None):
            raise UsageError(f"search with one of: {WAYS}")
        upload = None
        if ask.image is not None:
            upload = Upload(name="image", data=self._decode(ask.image))
        elif ask.path is not None and self._is_file(ask.path):
            upload = await self._service.run(self._service.drawing, self._read, Path(ask.path))
        elif ask.path is not None:
            source, _, key = ask.path.partition("/")
            ask = ask.model_copy(update={"id": point_id(source, key)})
        check_ways(ask, upload, WAYS)
        options = await self._service.run(self._service.asking, options_of, self._service, ask)
        return await answer_search(self._service, ask, upload, options, client)

    async def find_duplicates(self, ask: DuplicateArguments, _: str) -> dict[str, Any]:
        """Find groups of near-duplicates, each with the image to keep and why. Deletes nothing."""

        def find(report: Callable[..., None]) -> dict[str, Any]:
            groups = self._service.index.duplicates(max_distance=ask.max_distance, step=report)
            found = [group.to_json() for group in islice(groups, ask.limit)]
            for group in found:
                group["count"] = 1 + len(group["others"])
                del group["others"][MAX_OTHERS:]
            return {"groups": found}

        return dict(await self._job.run("duplicates", find))

    async def find_outliers(self, ask: OutlierArguments, _: str) -> dict[str, Any]:
        """Find images that are far from all others, or that the model reconstructs badly; the strongest first."""
        found = await self._job.run("outliers", lambda report: self._service.index.outliers(ask.limit, report=report))
        return {"outliers": [each.to_json() for each in found]}

    async def collection_status(self, _: NoArguments, __: str) -> dict[str, Any]:
        """Say what is searched and whether it is ready: number of images, sources, model, how good retrieval is."""
        return await self._service.run(self._service.asking, self._service.status)

    async def get_image(self, ask: ImageArguments, client: str) -> types.CallToolResult:
        """Show an image of the collection as a JPEG thumbnail, with what is known about it."""
        service = self._service
        file, content = await service.run(service.drawing, find_rendition, service, ask.id, THUMBNAIL, "jpg")
        if content is None:
            content = await draw_new(service, file, "jpg", THUMBNAIL, client, enlarge=True)
        shown = types.ImageContent(type="image", data=base64.b64encode(content).decode(), mime_type="image/jpeg")
        return answer({"id": ask.id, **file.point.payload}, shown)

    def _is_file(self, path: str) -> bool:
        return self._files and (Path(path).is_absolute() or Path(path).is_file())

    def _read(self, path: Path) -> Upload:
        """Read an image file of this machine, no larger than an upload may be."""
        try:
            if not path.is_file():
                raise UsageError(f"{path}: no such file")
            with path.open("rb") as file:
                data = file.read(self._service.limits.upload + 1)
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
        return Upload(name=path.name, data=self._check_size(data))

    def _decode(self, text: str) -> bytes:
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError) as error:
            raise UsageError("image: not base64", hint="send the file's bytes in base64") from error
        return self._check_size(data)

    def _check_size(self, data: bytes) -> bytes:
        if len(data) > self._service.limits.upload:
            raise UsageError(f"the image is too large; at most {format_size(self._service.limits.upload)}")
        return data


class Tool(NamedTuple):
    """A tool's arguments, and the function that answers them for a client."""

    arguments: type[BaseModel]
    function: Callable[[Any, str], Awaitable[Any]]


def make_server(service: Service, *, files: bool = False) -> Server[Any]:
    """The server of the tools; `files` as in `Tools`."""
    tools = Tools(service, files=files)
    table = {
        "search_images": Tool(SearchArguments, tools.search_images),
        "find_duplicates": Tool(DuplicateArguments, tools.find_duplicates),
        "find_outliers": Tool(OutlierArguments, tools.find_outliers),
        "collection_status": Tool(NoArguments, tools.collection_status),
        "get_image": Tool(ImageArguments, tools.get_image),
    }
    listed = [
        types.Tool(
            name=name,
            description=" ".join((tool.function.__doc__ or "").split()),
            input_schema=tool.arguments.model_json_schema(),
            annotations=READ_ONLY,
        )
        for name, tool in table.items()
    ]

    async def list_tools(*_: object) -> types.ListToolsResult:
        return types.ListToolsResult(tools=listed)

    async def call_tool(context: Any, asked: types.CallToolRequestParams) -> types.CallToolResult:
        try:
            if asked.name not in table:
                raise UsageError(f"no tool {asked.name[:100]!r}; there are {', '.join(table)}")
            tool = table[asked.name]
            arguments = tool.arguments.model_validate(asked.arguments or {})
            client = client_of(context.request) if context.request is not None else ""
            return answer(await tool.function(arguments, client))
        except ValidationError as error:
            return refusal(first_problem(error))
        except HTTPException as error:
            return refusal(str(error.detail))
        except RetrievalError as error:
            if status_of(error) >= 500:
                service.count(error)
            return refusal(client_message(error))
        except Exception:  # a bug: the log has it; the client, whom the SDK would tell, gets no path of this machine
            LOG.exception("a tool failed: %s", asked.name)
            return refusal(DEFECT)

    return Server(
        "retrieval",
        version=__version__,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


def answer(found: Any, *shown: types.ImageContent) -> types.CallToolResult:
    """A tool's answer, as text and as an object; unchanged if it is one already."""
    if isinstance(found, types.CallToolResult):
        return found
    text = types.TextContent(type="text", text=json.dumps(found, ensure_ascii=False))
    return types.CallToolResult(content=[*shown, text], structured_content=found)


def refusal(reason: str) -> types.CallToolResult:
    """A tool's answer that there is none, and why."""
    return types.CallToolResult(content=[types.TextContent(type="text", text=reason)], is_error=True)


def make_http_app(service: Service) -> Starlette:
    """The tools over streamable HTTP, to be put behind the service's own checks of host, key and size.

    Each POST is answered by one JSON object; there are no sessions, so nothing is kept for a client.
    """
    return make_server(service).streamable_http_app(
        streamable_http_path=PATH,
        json_response=True,
        stateless_http=True,
        max_request_body_size=service.limits.upload,
        transport_security=TransportSecuritySettings(
            enable_dns_rebinding_protection=False
        ),  # `AccessControl` does that
    )


async def serve_stdio(service: Service) -> None:
    """The tools over stdin and stdout, until stdin ends."""
    from mcp.server.stdio import stdio_server

    server = make_server(service, files=True)
    async with service.running(), stdio_server() as (requests, answers):
        await server.run(requests, answers, server.create_initialization_options())
