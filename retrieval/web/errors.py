"""Errors as HTTP answers: one line with what is wrong and what to do, without paths, keys or stack traces."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from retrieval.errors import (
    BadImage,
    FilterError,
    ModelError,
    NoCollection,
    RetrievalError,
    StoreUnavailable,
    UsageError,
)
from retrieval.images.formats import NO_AVIF, NO_HEIF

ENGINE_DOWN = "the engine does not answer; try again in a moment"
FILL = "ask the operator to run: retrieval ingest --train SOURCE"
"""How images get into the collection."""
NO_COLLECTION = f"there is no collection yet; {FILL}"
EMPTY = f"the collection is empty; {FILL}"
NO_MODEL = "the model that made this collection is not on this machine; ask the operator to install it"
DEFECT = "something went wrong in the service; its log has the details"
SPELLED = {"where": "filter"}
"""Arguments that have another name in the HTTP API than in Python."""
FOR_VISITORS = {
    reason: f"{reason.split()[0]} images cannot be read here; save it as JPEG or PNG" for reason in (NO_HEIF, NO_AVIF)
}
"""Reasons to refuse an image that tell the operator what to install, and what visitors are told."""
TOO_BUSY = "too busy; try again in a moment"
BUSY_SECONDS = 5
"""After how many seconds a client that got a 503 for lack of capacity may try again."""
NO_SUCH_IMAGE = "no such image in the collection"


class Problem(BaseModel):
    """Why there is no answer, in one line; `context` points at the place in a filter."""

    error: str
    context: list[str] = []


PROBLEMS = {
    400: "The request is malformed.",
    401: "The API key is missing or wrong.",
    403: "A page of another web site asked.",
    404: "No such image.",
    408: "The upload took too long.",
    413: "The upload is too large.",
    415: "The content type of the body is not supported.",
    422: "The image cannot be used.",
    429: "Too many requests.",
    503: "The engine, the collection or the model is not available, or too many requests wait.",
}


def too_busy() -> HTTPException:
    """The error for a request that there is no capacity for now."""
    return HTTPException(503, TOO_BUSY, {"Retry-After": str(BUSY_SECONDS)})


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors with these statuses, for the OpenAPI description."""
    return {status: {"model": Problem, "description": PROBLEMS[status]} for status in statuses}


def status_of(error: RetrievalError) -> int:
    """The HTTP status of an error."""
    if isinstance(error, UsageError):
        return 400
    if isinstance(error, BadImage):
        return 422
    return 503 if isinstance(error, NoCollection | StoreUnavailable | ModelError) else 500


def client_message(error: RetrievalError) -> str:
    """The message for the client. That of an internal error is replaced, because it may contain paths."""
    if isinstance(error, UsageError):
        return error.text(lambda option: SPELLED.get(option, option))
    if isinstance(error, BadImage):
        return FOR_VISITORS.get(error.reason, error.reason)
    if isinstance(error, NoCollection):
        return NO_COLLECTION
    if isinstance(error, StoreUnavailable):
        return ENGINE_DOWN
    return NO_MODEL if isinstance(error, ModelError) else DEFECT


def error_response(
    status: int, text: str, headers: Mapping[str, str] | None = None, context: tuple[str, ...] = ()
) -> JSONResponse:
    """An error as JSON."""
    more = {"context": list(context)} if context else {}
    return JSONResponse({"error": text, **more}, status, headers)


def respond_to_error(error: RetrievalError) -> JSONResponse:
    """The answer to a request that ended in a `RetrievalError`."""
    return error_response(
        status_of(error), client_message(error), context=error.context if isinstance(error, FilterError) else ()
    )


def respond_to_http(error: HTTPException) -> JSONResponse:
    """The answer to a request that a route or the framework refused."""
    return error_response(error.status_code, str(error.detail), error.headers)
