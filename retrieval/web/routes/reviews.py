"""`GET /api/reviews/…`: the lists that `retrieval duplicates` and `outliers` made last; nothing is computed here."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from retrieval.ops.reviews import MOST_ROWS, Kind, load_review
from retrieval.web.errors import problems
from retrieval.web.limits import MAX_ROWS
from retrieval.web.routes.points import PointAnswer
from retrieval.web.service import Service, service_of

router = APIRouter(prefix="/api")

NO_REVIEW = "there is no list of {kind} yet; ask the operator to run: retrieval {kind}"


class ReviewedPoint(PointAnswer):
    """An image's payload; `note` says what there is to know about it in this list."""

    note: str


class ReviewPage(BaseModel):
    """Rows of images that belong together: a group of duplicates, the one to keep first; or one outlier.

    made: UTC, ISO 8601
    found: number of rows that were found
    listed: number of rows that are listed
    """

    rows: list[list[ReviewedPoint]]
    made: str
    found: int
    listed: int


@router.get(
    "/reviews/{kind}",
    summary="The last list of duplicates or outliers",
    response_model=ReviewPage,
    responses=problems(400, 404, 503),
)
async def review(
    kind: Kind,
    service: Annotated[Service, Depends(service_of)],
    filter: Annotated[str, Query(max_length=10_000)] = "",  # noqa: A002 - the API's name
    offset: Annotated[int, Query(ge=0, le=MOST_ROWS)] = 0,
    n: Annotated[int, Query(ge=1, le=MAX_ROWS)] = MAX_ROWS,
) -> dict[str, Any]:
    """404 if there is none. Images that are no longer stored, or do not meet the filter, are left out of their row."""

    def ask() -> dict[str, Any]:
        where = service.index.filter(filter.strip() or None, pages=1)
        found = load_review(service.index.settings.reviews, service.index.alias, kind)
        if found is None:
            raise HTTPException(404, NO_REVIEW.format(kind=kind))
        rows = found.rows[offset : offset + n]
        points = service.index.points(image.id for row in rows for image in row)
        kept = [
            [
                {"id": image.id, **points[image.id].payload, "note": image.note}
                for image in row
                if image.id in points and (where is None or where.holds(image.id, points[image.id].payload))
            ]
            for row in rows
        ]
        return {"rows": kept, "made": found.made, "found": found.found, "listed": len(found.rows)}

    return await service.run(service.asking, ask)
