"""Serves images by point id. Only files below the root of the point's source are read."""

import functools
import hashlib
from typing import Annotated, Literal, NamedTuple
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from retrieval.errors import BadImage
from retrieval.images.decode import encode_jpeg, encode_png
from retrieval.images.draw import placeholder
from retrieval.schema.records import Point, is_id
from retrieval.web.errors import NO_SUCH_IMAGE, problems
from retrieval.web.service import Service, client_of, service_of

router = APIRouter(prefix="/images")
ServiceDep = Annotated[Service, Depends(service_of)]

THUMBNAIL, LARGE = 256, 2048
"""Longest edge in pixels: of a thumbnail, which small images are enlarged to, and of any other rendition."""
TYPES = {"jpg": "image/jpeg", "png": "image/png"}
Kind = Literal["jpg", "png"]
FRESH = "private, max-age=60"
LASTING = "private, max-age=2592000, immutable"
"""For a URL that names the content by the first VERSION_DIGITS of its SHA-256: it never has another."""
VERSION_DIGITS = 16
CHANGED = "this image's file has changed since it was ingested"


class FoundFile(NamedTuple):
    """A point, its image's file as it is now, and the SHA-256 of that (hex)."""

    point: Point
    data: bytes
    sha256: str


@router.get(
    "/{id}.{kind}",
    summary="An image: jpg is a thumbnail, or large; png has its own pixels",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}, "image/png": {}}}, 304: {}, **problems(400, 404, 503)},
)
async def image(
    id: str,  # noqa: A002 - the API's name
    kind: str,
    request: Request,
    service: ServiceDep,
    size: Literal["thumbnail", "large"] = "thumbnail",
    v: str | None = None,
) -> Response:
    """Image by id. If it does not exist or its file is gone, a placeholder, so that no page shows a broken image.

    `v`, the first 16 digits of its SHA-256, lets a browser keep it for a month.
    """
    if not is_id(id) or kind not in TYPES:
        raise HTTPException(404, NO_SUCH_IMAGE)
    chosen: Kind = "jpg" if kind == "jpg" else "png"
    enlarge = chosen == "jpg" and size == "thumbnail"
    side = THUMBNAIL if enlarge else LARGE
    try:
        file, content = await service.run(service.drawing, find_rendition, service, id, side, chosen)
        lasting = v == file.sha256[:VERSION_DIGITS]
        headers = {"ETag": f'"{file.sha256[:32]}"', "Cache-Control": LASTING if lasting else FRESH}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        if content is None:
            content = await draw_new(service, file, chosen, side, client_of(request), enlarge=enlarge)
    except BadImage:
        return placeholder_response(chosen)
    return Response(content, media_type=TYPES[chosen], headers=headers)


async def draw_new(service: Service, file: FoundFile, kind: Kind, side: int, client: str, *, enlarge: bool) -> bytes:
    """Draw a rendition, and keep it for the next request. Raises BadImage."""
    content = await service.decoders.draw(file.data, file.point.name, kind, side, client, enlarge=enlarge)
    await service.run(service.drawing, service.renditions.put, file.sha256, side, kind, content)
    return content


@router.get(
    "/{id}/file",
    summary="An image's own file, to download",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}, **problems(404, 503)},
)
async def download(id: str, service: ServiceDep) -> Response:  # noqa: A002 - the API's name
    """The file as it was ingested; 404 if it has changed since, or is gone."""
    try:
        file = await service.run(service.drawing, read_file, service, known(id))
    except BadImage as error:
        raise HTTPException(404, NO_SUCH_IMAGE) from error
    if file.sha256 != file.point.payload["sha256"]:
        raise HTTPException(404, CHANGED)
    name = quote(str(file.point.payload["path"]).rpartition("/")[2], safe="")
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{name}"}
    return Response(file.data, media_type="application/octet-stream", headers=headers)


@router.get(
    "/{id}/reconstruction.png",
    summary="An image as the model reconstructs it from its embedding",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, **problems(404, 503)},
)
async def reconstruction(id: str, service: ServiceDep) -> Response:  # noqa: A002 - the API's name
    """At the model's size."""

    def decode() -> bytes:
        if not service.index.points([known(id)]):
            raise HTTPException(404, NO_SUCH_IMAGE)
        return encode_png(service.index.reconstruct([id])[id])

    return Response(await service.run(service.drawing, decode), media_type="image/png")


def known(id_: str) -> str:
    """Return an id. Raises HTTPException 404 for a text that cannot be one."""
    if not is_id(id_):
        raise HTTPException(404, NO_SUCH_IMAGE)
    return id_


def read_file(service: Service, id_: str) -> FoundFile:
    """A point and its image's file. Raises BadImage if there is none."""
    point = service.index.points([id_]).get(id_)
    if point is None:
        raise BadImage(id_, NO_SUCH_IMAGE)
    data = service.index.image(point)
    return FoundFile(point, data, hashlib.sha256(data).hexdigest())


def find_rendition(service: Service, id_: str, side: int, kind: Kind) -> tuple[FoundFile, bytes | None]:
    """As `read_file`, and the image as it was drawn before."""
    file = read_file(service, id_)
    return file, service.renditions.get(file.sha256, side, kind)


def placeholder_response(kind: Kind) -> Response:
    """The placeholder, as an answer."""
    return Response(draw_placeholder(kind), media_type=TYPES[kind], headers={"Cache-Control": "no-store"})


@functools.cache
def draw_placeholder(kind: Kind) -> bytes:
    """The placeholder's file; drawn once, then cached."""
    pixels = placeholder(THUMBNAIL)
    return encode_jpeg(pixels) if kind == "jpg" else encode_png(pixels)
