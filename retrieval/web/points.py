"""What is there: status, counts of labels and sources, pictures by chance, one picture's payload."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from retrieval.records import is_id
from retrieval.web.answers import NO_SUCH_PICTURE, problems
from retrieval.web.limits import MAX_FACETS, MAX_SAMPLE
from retrieval.web.service import Service
from retrieval.web.state import service_of

router = APIRouter(prefix="/api")
Asked = Annotated[Service, Depends(service_of)]

FACETS = ("label", "source")


class Status(BaseModel):
    """What the service serves, and how that is."""

    version: str
    alias: str
    state: str
    message: str | None
    engine: str
    collection: str | None
    points: int
    model: str | None
    image_size: list[int] | None
    channels: int | None
    created: str | None
    sources: list[str]
    dashboard: str | None
    upload_bytes: int


class PointAnswer(BaseModel):
    """A picture's payload; fields beside these are the user's."""

    model_config = ConfigDict(extra="allow")

    id: str
    source: str
    path: str


class Sample(BaseModel):
    """Some pictures."""

    points: list[PointAnswer]


class Count(BaseModel):
    """How many pictures bear a value."""

    value: str
    count: int


@router.get("/status", summary="What is served, and how that is", response_model=Status)
async def status(service: Asked) -> dict[str, Any]:
    """Always answers; `state` is ready, empty, no-collection, no-model or engine-down, and `message` what to do."""
    return await service.run(service.asking, service.status)


@router.get("/facets", summary="Labels and sources with counts", responses=problems(503))
async def facets(service: Asked) -> dict[str, list[Count]]:
    """The most frequent first."""

    def ask() -> dict[str, list[Count]]:
        live, store = service.index.reader.current(), service.index.store
        found = {field: store.facet(live.collection, field, MAX_FACETS) for field in FACETS}
        return {
            field: [Count(value=value, count=count) for value, count in counts.items()]
            for field, counts in found.items()
        }

    return await service.run(service.asking, ask)


@router.get("/sample", summary="Pictures by chance", response_model=Sample, responses=problems(400, 503))
async def sample(service: Asked, n: Annotated[int, Query(ge=1, le=MAX_SAMPLE)] = 12) -> dict[str, Any]:
    """Others at each call."""

    def ask() -> list[dict[str, Any]]:
        points = service.index.store.sample(service.index.reader.current().collection, n)
        return [{"id": point.id, **point.payload} for point in points]

    return {"points": await service.run(service.asking, ask)}


@router.get(
    "/points/{id}", summary="One picture's payload", response_model=PointAnswer, responses=problems(400, 404, 503)
)
async def point(id: str, service: Asked) -> dict[str, Any]:  # noqa: A002 - the API's own word
    """By its id."""
    if not is_id(id):
        raise HTTPException(404, NO_SUCH_PICTURE)

    def ask() -> dict[str, Any]:
        found = service.index.store.retrieve(service.index.reader.current().collection, [id])
        if id not in found:
            raise HTTPException(404, NO_SUCH_PICTURE)
        return {"id": id, **found[id].payload}

    return await service.run(service.asking, ask)
