"""Reads a search request from JSON or a form, with the same checks for both."""

import contextlib
from collections.abc import AsyncIterator
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from retrieval.errors import UsageError
from retrieval.search.options import K
from retrieval.web.limits import MAX_EXAMPLES, MAX_K

PointId = Annotated[str, Field(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Examples = Annotated[list[PointId], Field(max_length=MAX_EXAMPLES)]

JSON, FORMS = "application/json", ("multipart/form-data", "application/x-www-form-urlencoded")
FIELD_BYTES = 64 * 2**10
LONGEST_NAME = 200


class SearchRequest(BaseModel):
    """A search: by an uploaded image, by a point's id, or by points to be like and unlike, also beside an image."""

    model_config = ConfigDict(extra="forbid")

    id: PointId | None = Field(None, description="An image of the collection to search with.")
    like: Examples = Field([], description="Images of the collection to be like.")
    unlike: Examples = Field([], description="Images of the collection to be unlike; only with `like` or an image.")
    k: int = Field(K, ge=1, le=MAX_K, description="Number of hits.")
    filter: str | None = Field(
        None,
        max_length=10_000,
        description="Filter that hits must match, in the language of `retrieval search --where`.",
    )
    diverse: bool = Field(False, description="Prefer hits that differ from each other.")
    same: bool = Field(
        False,
        description="Also list the images of the collection with the query's own content, which `hits` leave out.",
    )
    reconstruct: bool = Field(
        False, description="Also send the query as the model reconstructs it from its embedding, as a data URL."
    )

    @model_validator(mode="after")
    def _check_combination(self) -> "SearchRequest":
        examples = self.like or self.unlike
        if examples and (self.id or self.diverse or self.reconstruct or self.same):
            raise ValueError("like and unlike cannot be combined with id, diverse, reconstruct or same")
        return self


class Upload(BaseModel):
    """An uploaded image file."""

    name: str
    data: bytes


def body_schema() -> dict[str, Any]:
    """The request's body, for the OpenAPI description."""
    schema = SearchRequest.model_json_schema()
    image = {"type": "string", "format": "binary", "description": "An image file to search with."}
    form = {**schema, "properties": {"image": image, **schema["properties"]}}
    content = {JSON: {"schema": schema}, FORMS[0]: {"schema": form}}
    return {"requestBody": {"required": True, "content": content}}


async def read_request(request: Request) -> tuple[SearchRequest, Upload | None]:
    """Read the search, and the uploaded image if there is one. Raises UsageError, HTTPException."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    upload = None
    try:
        if kind == JSON:
            ask = SearchRequest.model_validate_json(await request.body())
        elif kind in FORMS:
            async with read_form(request) as (fields, upload):
                ask = SearchRequest.model_validate(fields)
        else:
            raise HTTPException(415, f"send {FORMS[0]} with an image, or {JSON}")
    except ValidationError as error:
        raise UsageError(first_problem(error)) from error
    check_ways(ask, upload)
    return ask, upload


def first_problem(error: ValidationError) -> str:
    """What is wrong with the first wrong field, in one line."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]


def check_ways(ask: SearchRequest, upload: Upload | None, ways: str = "image, id, like") -> None:
    """Raise UsageError unless one of the ways to search was given; `like` and `unlike` may come with an image."""
    if upload is None and ask.unlike and not ask.like:
        raise UsageError("unlike without like or an image")
    if ((upload is not None or bool(ask.like)) + (ask.id is not None)) != 1:
        raise UsageError(f"search with one of: {ways}")


@contextlib.asynccontextmanager
async def read_form(request: Request) -> AsyncIterator[tuple[dict[str, Any], Upload | None]]:
    """Read a form's fields and its file. Fields that may be repeated are lists."""
    async with request.form(max_files=1, max_fields=3 * MAX_EXAMPLES, max_part_size=FIELD_BYTES) as sent:
        image = sent.get("image")
        upload = None
        if isinstance(image, UploadFile):
            name = (image.filename or "upload").replace("\\", "/").rpartition("/")[2]
            upload = Upload(name=name[:LONGEST_NAME], data=await image.read())
        fields: dict[str, Any] = {}
        for name in sent:
            if name == "image" and upload:
                continue
            values = [value for value in sent.getlist(name) if value != ""]
            if name in ("like", "unlike"):
                fields[name] = values
            elif values:
                fields[name] = values[-1]
        yield fields, upload
