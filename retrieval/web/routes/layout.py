"""`GET /api/map`: where the images lie on the map."""

from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from pydantic import BaseModel

from retrieval.web.errors import problems
from retrieval.web.service import Service, service_of

router = APIRouter(prefix="/api")


class Map(BaseModel):
    """A list for each field. Positions are from 0 to 65535; `label` is a place in `labels`, or -1."""

    ids: list[str]
    x: list[int]
    y: list[int]
    label: list[int]
    labels: list[str]


@router.get(
    "/map",
    summary="Where the images lie on the map",
    response_model=Map,
    responses={202: {"description": "The map is being drawn; ask again in a second."}, **problems(503)},
)
async def read_map(service: Annotated[Service, Depends(service_of)]) -> Response:
    """At most 20,000 images, those that are alike near each other. Drawn when first asked for, and kept."""
    content = await service.run(service.asking, service.maps.find)
    if content is None:
        return Response(status_code=202)
    return Response(content, media_type="application/json")
