"""Serves images by point id. Only files below the root of the point's source are read."""

import functools
import hashlib
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from retrieval.errors import BadImage
from retrieval.images.decode import encode_jpeg, encode_png
from retrieval.images.draw import placeholder
from retrieval.schema.records import Point, is_id
from retrieval.web.errors import NO_SUCH_IMAGE, problems
from retrieval.web.service import Service, client_of, service_of

router = APIRouter()

SIDE = {"jpg": 256, "png": 2048}
"""Longest edge in pixels: of a thumbnail (jpg), and of the image at its own size (png)."""
TYPES = {"jpg": "image/jpeg", "png": "image/png"}
Kind = Literal["jpg", "png"]
FRESH = "private, max-age=60"


@router.get(
    "/images/{id}.{kind}",
    summary="An image: jpg is a thumbnail, png has its own pixels",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}, "image/png": {}}}, 304: {}, **problems(400, 404, 503)},
)
async def image(
    id: str,  # noqa: A002 - the API's name
    kind: str,
    request: Request,
    service: Annotated[Service, Depends(service_of)],
) -> Response:
    """Image by id. If it does not exist or its file is gone, a placeholder, so that no page shows a broken image."""
    if not is_id(id) or kind not in SIDE:
        raise HTTPException(404, NO_SUCH_IMAGE)
    chosen: Kind = "jpg" if kind == "jpg" else "png"
    try:
        point, data = await service.run(service.drawing, read_image, service, id)
        tag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
        headers = {"ETag": tag, "Cache-Control": FRESH}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        content = await service.decoders.draw(data, point.name, chosen, SIDE[chosen], client_of(request))
    except BadImage:
        return placeholder_response(chosen)
    return Response(content, media_type=TYPES[chosen], headers=headers)


def read_image(service: Service, id_: str) -> tuple[Point, bytes]:
    """A point and its image's file as it is now. Raises BadImage if there is none."""
    point = service.index.points([id_]).get(id_)
    if point is None:
        raise BadImage(id_, NO_SUCH_IMAGE)
    return point, service.index.image(point)


def placeholder_response(kind: Kind) -> Response:
    """The placeholder, as an answer."""
    return Response(draw_placeholder(kind), media_type=TYPES[kind], headers={"Cache-Control": "no-store"})


@functools.cache
def draw_placeholder(kind: Kind) -> bytes:
    """The placeholder's file; drawn once, then cached."""
    pixels = placeholder(SIDE["jpg"])
    return encode_jpeg(pixels) if kind == "jpg" else encode_png(pixels)
