"""Serves images by point id. Only files below the root of the point's source are read."""

import functools
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from retrieval.errors import BadImage
from retrieval.images.decode import encode_jpeg, encode_png, probe, thumbnail
from retrieval.images.draw import placeholder
from retrieval.schema.records import Point, is_id
from retrieval.web.errors import NO_SUCH_IMAGE, problems
from retrieval.web.service import Service, service_of

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
    known = request.headers.get("if-none-match")
    return await service.run(service.drawing, image_response, service, id, "jpg" if kind == "jpg" else "png", known)


def image_response(service: Service, id_: str, kind: Kind, known: str | None) -> Response:
    """The answer: the image, 304 when it has not changed, or a placeholder."""
    point = service.index.points([id_]).get(id_)
    if point is None:
        return placeholder_response(kind)
    tag = f'"{str(point.payload["sha256"])[:32]}"'
    headers = {"ETag": tag, "Cache-Control": FRESH}
    if known == tag:
        return Response(status_code=304, headers=headers)
    try:
        content = encode_image(service.index.image(point), point, kind, service.limits.pixels)
    except BadImage:
        return placeholder_response(kind)
    return Response(content, media_type=TYPES[kind], headers=headers)


def encode_image(data: bytes, point: Point, kind: Kind, most: int) -> bytes:
    """Encode an image as a file of that kind, given its file. Raises BadImage."""
    where = point.name
    height, width, _ = probe(data, where)
    if height * width > most:
        raise BadImage(where, f"more than {most:,} pixels")
    if kind == "jpg":
        return encode_jpeg(thumbnail(data, where, SIDE[kind]))
    return encode_png(thumbnail(data, where, min(max(height, width), SIDE[kind])))


def placeholder_response(kind: Kind) -> Response:
    """The placeholder, as an answer."""
    return Response(draw_placeholder(kind), media_type=TYPES[kind], headers={"Cache-Control": "no-store"})


@functools.cache
def draw_placeholder(kind: Kind) -> bytes:
    """The placeholder's file; drawn once, then cached."""
    pixels = placeholder(SIDE["jpg"])
    return encode_jpeg(pixels) if kind == "jpg" else encode_png(pixels)
