"""Contents of the collection: status, counts of labels and sources, random images, one image's payload."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from retrieval.schema.records import is_id
from retrieval.web.errors import NO_SUCH_IMAGE, problems
from retrieval.web.limits import MAX_FACETS, MAX_SAMPLE, MOST_SEARCHED
from retrieval.web.service import Service, service_of

router = APIRouter(prefix="/api")
ServiceDep = Annotated[Service, Depends(service_of)]

FACETS = ("label", "source")


class Status(BaseModel):
    """What is served, and its state."""

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
    verdict: str | None
    weak: str | None
    quality: str | None
    measured: str | None
    sources: list[str]
    dashboard: str | None
    upload_bytes: int


class PointAnswer(BaseModel):
    """An image's payload; further fields are the user's own."""

    model_config = ConfigDict(extra="allow")

    id: str
    source: str
    path: str


class Sample(BaseModel):
    """Some images."""

    points: list[PointAnswer]


class Count(BaseModel):
    """How many images have a value."""

    value: str
    count: int


@router.get("/status", summary="What is served, and its state", response_model=Status)
async def status(service: ServiceDep) -> dict[str, Any]:
    """Always answers; `state` is ready, empty, no-collection, no-model or engine-down, `message` says what to do."""
    return await service.run(service.asking, service.status)


@router.get("/facets", summary="Labels and sources with counts", responses=problems(400, 503))
async def facets(service: ServiceDep, contains: Annotated[str, Query(max_length=200)] = "") -> dict[str, list[Count]]:
    """The most frequent first, at most 100 of each; `contains`: those whose name contains this text, in any case."""
    sought = contains.casefold()

    def ask() -> dict[str, list[Count]]:
        found = service.index.facets(FACETS, MOST_SEARCHED if sought else MAX_FACETS)
        return {
            field: [Count(value=name, count=count) for name, count in counts.items() if sought in name.casefold()][
                :MAX_FACETS
            ]
            for field, counts in found.items()
        }

    return await service.run(service.asking, ask)


@router.get("/sample", summary="Random images", response_model=Sample, responses=problems(400, 503))
async def sample(service: ServiceDep, n: Annotated[int, Query(ge=1, le=MAX_SAMPLE)] = 12) -> dict[str, Any]:
    """Random images, different ones in each answer."""

    def ask() -> list[dict[str, Any]]:
        return [{"id": point.id, **point.payload} for point in service.index.sample(n)]

    return {"points": await service.run(service.asking, ask)}


@router.get(
    "/points/{id}", summary="One image's payload", response_model=PointAnswer, responses=problems(400, 404, 503)
)
async def point(id: str, service: ServiceDep) -> dict[str, Any]:  # noqa: A002 - the API's name
    """Payload by id."""
    if not is_id(id):
        raise HTTPException(404, NO_SUCH_IMAGE)

    def ask() -> dict[str, Any]:
        found = service.index.points([id])
        if id not in found:
            raise HTTPException(404, NO_SUCH_IMAGE)
        return {"id": id, **found[id].payload}

    return await service.run(service.asking, ask)
