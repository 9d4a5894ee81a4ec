"""The application: routes, the page's files, and the middleware around them."""

import contextlib
import importlib.util
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, Response
from fastapi.security import APIKeyHeader
from fastapi.staticfiles import StaticFiles
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import ASGIApp

from retrieval import __version__
from retrieval.api import Index
from retrieval.errors import RetrievalError
from retrieval.web.errors import DEFECT, error_response, respond_to_error, respond_to_http
from retrieval.web.limits import Limits
from retrieval.web.middleware.auth import AccessControl
from retrieval.web.middleware.body_limits import BodyLimits
from retrieval.web.middleware.headers import SecurityHeaders
from retrieval.web.middleware.other_sites import OtherSites
from retrieval.web.routes import browse, health, images, layout, points, reviews, search
from retrieval.web.service import Service, service_of

STATIC = Path(str(files("retrieval.web"))) / "static"
KEY = APIKeyHeader(name="X-API-Key", auto_error=False, description="Needed if the service has a key.")
page = APIRouter(include_in_schema=False)


@page.get("/")
async def index_page() -> FileResponse:
    """The page."""
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})


@page.get("/docs")
async def docs_page() -> FileResponse:
    """The API's documentation."""
    return FileResponse(STATIC / "docs.html", headers={"Cache-Control": "no-cache"})


@page.get("/favicon.ico")
async def icon() -> Response:
    """No content: the page contains its icon."""
    return Response(status_code=204)


def create_app(
    index: Index,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    *,
    key: str | None = None,
    any_host: bool = False,
) -> ASGIApp:
    """The service on an open index; read-only.

    key: the API key that clients must send (default: none)
    any_host: see `AccessControl`
    """
    service = Service(index, limits)

    tools = agents_app(service)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.running(), tools.router.lifespan_context(tools) if tools else contextlib.nullcontext():
            yield

    app = FastAPI(title="retrieval", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    app.state.service = service
    for router in (
        search.router,
        browse.router,
        reviews.router,
        layout.router,
        points.router,
        images.router,
        health.router,
    ):
        app.include_router(router, dependencies=[Depends(KEY)])
    if tools:
        app.router.routes += [
            Route(each.path, each.endpoint, methods=["POST"]) for each in tools.routes if isinstance(each, Route)
        ]
    app.include_router(page)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.openapi_schema = describe_api(app)
    app.add_exception_handler(RetrievalError, handle_retrieval_error)
    app.add_exception_handler(RequestValidationError, handle_malformed)
    app.add_exception_handler(HTTPException, handle_http_error)
    app.add_exception_handler(ClientDisconnect, handle_disconnect)
    app.add_exception_handler(Exception, handle_defect)
    guarded = AccessControl(BodyLimits(app, limits, service.metrics), key=key, rate=limits.rate, any_host=any_host)
    settings = index.settings
    origins = [settings.public_url] if settings.public_url else []
    return SecurityHeaders(OtherSites(guarded, origins=origins, dashboards=settings.dashboards), service.metrics)


def agents_app(service: Service) -> Starlette | None:
    """The tools for agents; None where the extra `mcp` is not installed."""
    if importlib.util.find_spec("mcp") is None:
        return None
    from retrieval.web.agents import make_http_app

    return make_http_app(service)


def describe_api(app: FastAPI) -> dict[str, Any]:
    """The API's OpenAPI description, without the framework's 422 for bad parameters: the service answers 400."""
    schema = app.openapi()
    for operation in (each for path in schema["paths"].values() for each in path.values()):
        if "HTTPValidationError" in str(operation["responses"].get("422")):
            del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(name, None)
    return schema


async def handle_retrieval_error(request: Request, error: Exception) -> Response:
    """Answer a `RetrievalError`; one with a status of 500 or more is also counted and logged in full."""
    assert isinstance(error, RetrievalError)
    response = respond_to_error(error)
    if response.status_code >= 500:
        service_of(request).count(error)
    return response


async def handle_malformed(_: Request, error: Exception) -> Response:
    """Answer a malformed parameter."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return error_response(400, f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg']}")


async def handle_http_error(_: Request, error: Exception) -> Response:
    """Answer a request that a route or the framework refused."""
    assert isinstance(error, HTTPException)
    return respond_to_http(error)


async def handle_disconnect(_: Request, _error: Exception) -> Response:
    """Answer a client that has disconnected, for the metrics only."""
    return Response(status_code=400)


async def handle_defect(_: Request, _error: Exception) -> Response:
    """Answer a bug; its stack trace is in the service's log."""
    return error_response(500, DEFECT)
