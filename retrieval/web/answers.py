"""Errors as HTTP answers: one sentence that says what and what to do, and never a path, a key or a stack trace."""

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

ENGINE_DOWN = "the engine does not answer; try again in a moment"
NO_COLLECTION = "there is no collection yet; whoever runs this service makes it with: retrieval ingest SOURCE"
NO_MODEL = "the model that made this collection is not on this machine; whoever runs this service has to bring it"
DEFECT = "something went wrong here; the service's log says what"
TOO_BUSY = "too busy; try again in a moment"
NO_SUCH_PICTURE = "no such picture in the collection"


class Problem(BaseModel):
    """Why there is no answer: one sentence; `context` points at the place in a filter."""

    error: str
    context: list[str] = []


PROBLEMS = {
    400: "Not understood.",
    401: "An API key is wanted.",
    404: "No such picture.",
    408: "The upload took too long.",
    413: "The upload is too large.",
    415: "Another kind of body.",
    422: "Not an image that can be used.",
    429: "Too many requests.",
    503: "The engine, the collection or the model is not there, or too much is asked at once.",
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Those answers, for the API's description."""
    return {status: {"model": Problem, "description": PROBLEMS[status]} for status in statuses}


def status_of(error: RetrievalError) -> int:
    """The HTTP status of an error."""
    if isinstance(error, UsageError):
        return 400
    if isinstance(error, BadImage):
        return 422
    return 503 if isinstance(error, NoCollection | StoreUnavailable | ModelError) else 500


def sentence(error: RetrievalError) -> str:
    """What a client is told of it: of what is wrong inside, only that, for messages name places on this machine."""
    if isinstance(error, UsageError):
        return str(error).replace("--where", "filter").replace("--", "")
    if isinstance(error, BadImage):
        return error.reason
    if isinstance(error, NoCollection):
        return NO_COLLECTION
    if isinstance(error, StoreUnavailable):
        return ENGINE_DOWN
    return NO_MODEL if isinstance(error, ModelError) else DEFECT


def answer(
    status: int, text: str, headers: Mapping[str, str] | None = None, context: tuple[str, ...] = ()
) -> JSONResponse:
    """The JSON of an error."""
    more = {"context": list(context)} if context else {}
    return JSONResponse({"error": text, **more}, status, headers)


def of_error(error: RetrievalError) -> JSONResponse:
    """The answer to a request that ended in an error of ours."""
    return answer(status_of(error), sentence(error), context=error.context if isinstance(error, FilterError) else ())


def of_http(error: HTTPException) -> JSONResponse:
    """The answer to a request that was refused before anything was done."""
    return answer(error.status_code, str(error.detail), error.headers)
