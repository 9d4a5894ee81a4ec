"""`POST /api/search`: from an upload or an id to hits, without ever blocking the event loop."""

import asyncio
import base64
import dataclasses
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from retrieval.errors import BadImage
from retrieval.images.decode import encode_png
from retrieval.search.options import SearchOptions
from retrieval.search.query import Query, Stored
from retrieval.search.results import Result
from retrieval.search.run import EncodedQuery, PreparedQuery
from retrieval.sources.read import Loaded
from retrieval.web.errors import NO_SUCH_IMAGE, problems
from retrieval.web.limits import MAX_SAME
from retrieval.web.requests import SearchRequest, Upload, body_schema, read_request
from retrieval.web.routes.points import PointAnswer
from retrieval.web.service import Service, client_of, service_of

router = APIRouter()


class HitAnswer(BaseModel):
    """An image of the collection; further fields come from its payload."""

    model_config = ConfigDict(extra="allow")

    id: str
    distance: float
    percentile: float | None
    source: str
    path: str


class SearchAnswer(BaseModel):
    """Hits, nearest first; `note` is a remark on them, for example that nothing resembles the query.

    `same`, if asked for, are the images of the collection with the query's own content, at most 20.
    `weak` is a warning if the last evaluation of the collection found most hits wrong, or a baseline better.
    """

    query: str
    hits: list[HitAnswer]
    note: str | None = None
    weak: str | None = None
    same: list[PointAnswer] | None = None
    reconstruction: str | None = None


@router.post(
    "/api/search",
    summary="Find the images nearest to one",
    response_model=SearchAnswer,
    responses=problems(400, 404, 408, 413, 415, 422, 503),
    openapi_extra=body_schema(),
)
async def search(request: Request, service: Annotated[Service, Depends(service_of)]) -> Response:
    """By an image (a form's file), by the `id` of a stored image, or by stored images to be `like` and `unlike`.

    An image can be combined with `like` and `unlike`: hits are then to be like it too.
    """
    with service.metrics.stage("read"):
        ask, upload = await read_request(request)
    options = await service.run(service.asking, options_of, service, ask) if ask.filter else options_of(service, ask)
    return JSONResponse(
        await answer_search(service, ask, upload, options, client_of(request))
    )  # no validation needed: these are our own values


def options_of(service: Service, ask: SearchRequest) -> SearchOptions:
    """The options of a search. Only one page of points is read to learn which fields exist. Raises UsageError."""
    return SearchOptions(k=ask.k, where=service.index.filter(ask.filter or None, pages=1), diverse=ask.diverse)


async def answer_search(
    service: Service, ask: SearchRequest, upload: Upload | None, options: SearchOptions, client: str
) -> dict[str, Any]:
    """Search, using one collection and its model for the whole answer."""
    prepared = None
    if upload is not None:
        data = upload.data
        prepared = await decode_upload(service, Query.of(upload.name, lambda: data), data, client)
    if ask.like or ask.unlike:
        return (await service.run(service.asking, search_by_examples, service, ask, prepared, options)).to_json()
    if prepared is None:
        prepared = await service.run(service.asking, service.index.prepare, Stored(str(ask.id)))
    search = service.batcher.search(check_usable(prepared), options)
    same = None
    if ask.same:  # asked for meanwhile, so that a search takes no longer
        listing = service.run(service.asking, find_same, service, prepared)
        (prepared, result), same = await asyncio.gather(search, listing)
        result = dataclasses.replace(result, here=bool(same))
    else:
        prepared, result = await search
    check_usable(prepared)  # if its collection was dropped meanwhile, it was prepared again for the new one
    answer: dict[str, Any] = result.to_json() | ({} if same is None else {"same": same})
    if ask.reconstruct:
        answer["reconstruction"] = await service.run(service.drawing, reconstruct, prepared)
    return answer


async def decode_upload(service: Service, query: Query, data: bytes, client: str) -> PreparedQuery:
    """Decode an image at the live model's size. Raises BadImage, HTTPException 503."""
    live = await service.run(service.asking, service.index.current)
    with service.metrics.stage("decode"):
        sha256, image = await service.decoders.decode(data, query.name, live.meta.shape, client)
    return PreparedQuery(live, query, Loaded(query.entry, sha256, image))


def check_usable(prepared: PreparedQuery) -> PreparedQuery:
    """Return the query. Raises BadImage for an unusable image, HTTPException 404 for a missing stored one."""
    if not isinstance(prepared.given, str):
        return prepared
    if isinstance(prepared.query, Stored):
        raise HTTPException(404, NO_SUCH_IMAGE)
    raise BadImage(prepared.query.name, prepared.given)


def find_same(service: Service, prepared: PreparedQuery) -> list[dict[str, Any]]:
    """The images of the collection with a usable query's own content, whatever the filter; its own point first."""
    given = prepared.given
    assert not isinstance(given, str)
    content = given.sha256 if isinstance(given, Loaded) else given.content
    found = service.index.with_content(content, MAX_SAME)
    found.sort(key=lambda point: point.id != prepared.query.name)
    return [{"id": point.id, **point.payload} for point in found]


def search_by_examples(
    service: Service, ask: SearchRequest, upload: PreparedQuery | None, options: SearchOptions
) -> Result:
    """Search by `like` and `unlike`, and by an upload to be like. Raises HTTPException 404 for a missing example."""
    if {*ask.like, *ask.unlike} - service.index.points([*ask.like, *ask.unlike]).keys():
        raise HTTPException(404, NO_SUCH_IMAGE)
    like: list[Stored | PreparedQuery] = [*([upload] if upload else []), *map(Stored, ask.like)]
    return service.index.recommend(like, [*map(Stored, ask.unlike)], options)


def reconstruct(prepared: PreparedQuery) -> str:
    """Decode a query's embedding; returns the image as a data URL."""
    assert isinstance(prepared.given, EncodedQuery)
    (pixels,) = prepared.live.reconstruct(prepared.given.code[None])
    return f"data:image/png;base64,{base64.b64encode(encode_png(pixels)).decode()}"
