"""`POST /api/search`: from an upload or an id to hits, without ever blocking the event loop."""

import asyncio
import base64
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from retrieval.errors import BadImage, NoCollection
from retrieval.images.decode import encode_png, probe
from retrieval.reading import Loaded, Refused, read_pictures
from retrieval.search.fields import check_fields
from retrieval.search.job import Asked, Live, more_like, prepare
from retrieval.search.options import Options
from retrieval.search.query import Query, Stored
from retrieval.search.results import Result
from retrieval.web.answers import NO_SUCH_PICTURE, problems
from retrieval.web.asking import Ask, Upload, body_schema, read
from retrieval.web.service import Service
from retrieval.web.state import service_of
from retrieval.where import parse

router = APIRouter()


class HitAnswer(BaseModel):
    """A picture of the collection; fields beside these are its payload's."""

    model_config = ConfigDict(extra="allow")

    id: str
    distance: float
    percentile: float | None
    source: str
    path: str


class SearchAnswer(BaseModel):
    """Hits, nearest first; `note` says what there is to say of them."""

    query: str
    hits: list[HitAnswer]
    note: str | None = None
    reconstruction: str | None = None


@router.post(
    "/api/search",
    summary="Find the pictures nearest to one",
    response_model=SearchAnswer,
    responses=problems(400, 404, 408, 413, 415, 422, 503),
    openapi_extra=body_schema(),
)
async def search(request: Request, service: Annotated[Service, Depends(service_of)]) -> Response:
    """By an image (a form's file), by the `id` of a stored picture, or by stored pictures to be `like` and `unlike`."""
    with service.metrics.stage("read"):
        ask, upload = await read(request)
    options = await service.run(service.asking, options_of, service, ask) if ask.filter else options_of(service, ask)
    try:
        answer = await found(service, ask, upload, options)
    except NoCollection:  # dropped between two steps: its successor answers, or there is none
        await service.run(service.asking, service.index.live)
        answer = await found(service, ask, upload, options)
    return JSONResponse(answer)  # made of our own values, which need no check


def options_of(service: Service, ask: Ask) -> Options:
    """Raises UsageError for a filter that makes no sense; looks at few pictures to know which fields there are."""
    where = parse(ask.filter) if ask.filter else None
    if where is not None:
        check_fields(service.index.store, service.index.reader.current().collection, where, pages=1)
    return Options(k=ask.k, where=where, diverse=ask.diverse)


async def found(service: Service, ask: Ask, upload: Upload | None, options: Options) -> dict[str, Any]:
    """The answer, all of it by one collection and its model."""
    if ask.like:
        return (await service.run(service.asking, like, service, ask, options)).to_json()
    query: Query | Stored
    given: Loaded | Asked
    if upload is not None:
        query = Query.of(upload.name, lambda: upload.data)
        live, given = await decoded(service, query)
    else:
        query = Stored(str(ask.id))
        live, given = await service.run(service.asking, stored, service, query)
    result, asked = await service.batcher.search(live, query, given, options)
    answer = result.to_json()
    if ask.reconstruct:
        answer["reconstruction"] = await service.run(service.drawing, reconstruction, live, asked)
    return answer


async def decoded(service: Service, query: Query) -> tuple[Live, Loaded]:
    """A picture as the live model takes it. Raises BadImage, also when it takes too long."""
    try:
        async with asyncio.timeout(service.limits.decode_seconds):
            return await service.run(service.decoding, opened, service, query)
    except TimeoutError as error:
        raise BadImage(query.name, "it takes too long to open; scale it down") from error


def opened(service: Service, query: Query) -> tuple[Live, Loaded]:
    """Checked, then decoded."""
    live = service.index.reader.current()
    with service.metrics.stage("decode"):
        height, width, _ = probe(query.read(), query.name)
        if height * width > service.limits.pixels:
            raise BadImage(query.name, f"{width}×{height} pixels; at most {service.limits.pixels:,}; scale it down")
        (item,) = read_pictures([query.entry], live.meta.image_size, live.meta.channels)
    if isinstance(item, Refused):
        raise BadImage(query.name, item.reason)
    return live, item


def stored(service: Service, query: Stored) -> tuple[Live, Asked]:
    """A code that the collection holds. Raises HTTPException 404."""
    live = service.index.reader.current()
    (asked,) = prepare(service.index.store, live, [query])
    if isinstance(asked, str):
        raise HTTPException(404, NO_SUCH_PICTURE)
    return live, asked


def like(service: Service, ask: Ask, options: Options) -> Result:
    """More like some, less like others. Raises HTTPException 404 for an example that is not there."""
    live, store = service.index.reader.current(), service.index.store
    examples = [[Stored(id_) for id_ in ids] for ids in (ask.like, ask.unlike)]
    if len(store.retrieve(live.collection, list({*ask.like, *ask.unlike}))) < len({*ask.like, *ask.unlike}):
        raise HTTPException(404, NO_SUCH_PICTURE)
    return more_like(store, live, examples[0], examples[1], options)


def reconstruction(live: Live, asked: Asked) -> str:
    """What the decoder makes of a code, as a data URL."""
    pixels = np.rint(live.encoder.decode(asked.code[None])[0] * 255).astype(np.uint8)
    return f"data:image/png;base64,{base64.b64encode(encode_png(pixels)).decode()}"
