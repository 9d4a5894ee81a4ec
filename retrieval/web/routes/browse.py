"""`GET /api/points`: the collection's images in an order, a page at a time."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from retrieval.search.listing import Order
from retrieval.web.errors import problems
from retrieval.web.limits import LISTED, MAX_SAMPLE
from retrieval.web.routes.points import PointAnswer
from retrieval.web.service import Service, service_of

router = APIRouter(prefix="/api")


class Page(BaseModel):
    """Images from a place in a list on.

    listed: how many there are in the list
    whole: false if more images meet the filter than are listed
    """

    points: list[PointAnswer]
    listed: int
    whole: bool


@router.get(
    "/points", summary="Images in an order, a page at a time", response_model=Page, responses=problems(400, 503)
)
async def browse(
    service: Annotated[Service, Depends(service_of)],
    order: Order = "random",
    filter: Annotated[str, Query(max_length=10_000)] = "",  # noqa: A002 - the API's name
    offset: Annotated[int, Query(ge=0, le=LISTED)] = 0,
    n: Annotated[int, Query(ge=1, le=MAX_SAMPLE)] = MAX_SAMPLE,
    seed: Annotated[int, Query(ge=0, lt=2**32)] = 0,
) -> dict[str, Any]:
    """`date`: the newest files first. `seed` is of `random`: with the same seed, pages do not overlap."""

    def ask() -> dict[str, Any]:
        listing = service.listings.find(order, filter.strip(), first=offset == 0)
        ids = listing.page(offset, n, seed)
        found = service.index.points(ids)
        points = [{"id": id_, **found[id_].payload} for id_ in ids if id_ in found]
        return {"points": points, "listed": len(listing), "whole": listing.whole}

    service.listings.enter()
    try:
        return await service.run(service.listings.pool, ask)
    finally:
        service.listings.leave()
