"""What `scripts/fuzz` gives hostile bytes to: each target raises nothing but the errors that the service answers."""

import asyncio
import contextlib
import io
import os
from collections.abc import Callable
from typing import NamedTuple

from PIL import Image
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from retrieval.errors import RetrievalError, UsageError
from retrieval.images.upload_process import ProcessLimits, work
from retrieval.schema.filter_language import parse
from retrieval.web.middleware.auth import has_session, is_here, make_token
from retrieval.web.middleware.other_sites import OtherSites, authority
from retrieval.web.requests import read_request

KEY = "a key for fuzzing"
LIMITS = ProcessLimits(10, 64 * 10**6, 4_000_000, None, 0)
FORM = b"--x\r\nContent-Disposition: form-data; name="
POINT = {"label": "7", "width": 640, "ingested_at": "2026-11-24T09:15:59+00:00", "count": 7}


class Target(NamedTuple):
    """Something that takes bytes from outside, and files to begin with."""

    run: Callable[[bytes], None]
    seeds: list[bytes]


def run_filter(data: bytes) -> None:
    """Parse a filter and apply it to a point."""
    with contextlib.suppress(UsageError):
        parse(data.decode("utf-8", "replace")).holds("4f1c2a9b-0c1d-5e2f-8a3b-4c5d6e7f8a9b", POINT)


def run_headers(data: bytes) -> None:
    """Lines of headers: cookies, hosts, origins, referers."""
    lines = [line.partition(b":") for line in data.split(b"\n")]
    headers = Headers(raw=[(name.strip().lower(), value.strip()) for name, _, value in lines])
    has_session(headers.get("cookie", ""), KEY)
    is_here(headers.get("host", ""))
    authority(headers.get("referer", ""))
    OtherSites(None, origins=[], dashboards=[])._is_foreign(headers, "POST")  # type: ignore[arg-type]


def run_body(data: bytes) -> None:
    """The body of a search; its first byte says whether it is a form or JSON."""
    kind = b"application/json" if data[:1] == b"{" else b"multipart/form-data; boundary=x"

    async def receive() -> Message:
        return {"type": "http.request", "body": data, "more_body": False}

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", kind)], "path": "/", "app": None}
    with contextlib.suppress(RetrievalError, HTTPException):
        asyncio.run(read_request(Request(scope, receive)))


def run_image(data: bytes) -> None:
    """The work of a decoder's process, without its limits on time."""
    for task in ({"name": "a", "shape": [8, 8, 3, "crop"]}, {"name": "a", "kind": "jpg", "side": 16, "enlarge": True}):
        with contextlib.suppress(MemoryError):
            head, body = work(task, data, LIMITS)
            assert head["outcome"] in ("done", "refused"), head
            assert head["outcome"] == "refused" or "kind" in task or len(body) == 8 * 8 * 3


def image_seeds() -> list[bytes]:
    """Small images of each format and of some modes."""
    seeds = []
    noise = Image.effect_noise((24, 16), 80)
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF"):
        for mode in ("L", "RGB", "RGBA", "P", "I;16", "CMYK", "1"):
            out = io.BytesIO()
            with contextlib.suppress(Exception):  # not every format has every mode
                noise.convert(mode).save(out, kind, **({"progressive": True} if kind == "JPEG" else {}))
                seeds.append(out.getvalue())
    return seeds


TARGETS = {
    "filter": Target(
        run_filter,
        [
            b'label in (3, "a\\nb") and not (width>=6.5 or path~"2024/*")',
            b"ingested_at>=2026-11-01 or id=4f1c2a9b-0c1d-5e2f-8a3b-4c5d6e7f8a9b",
            b"count!=" + b"9" * 400,
        ],
    ),
    "headers": Target(
        run_headers,
        [
            b'Cookie: prefs={"a":1}; retrieval=' + make_token(KEY).encode() + b"\nHost: [::1]:80",
            b"Origin: http://localhost:80\nReferer: https://a.example:443/b\nSec-Fetch-Site: cross-site",
        ],
    ),
    "body": Target(
        run_body,
        [
            b'{"id": "4f1c2a9b-0c1d-5e2f-8a3b-4c5d6e7f8a9b", "k": 5, "filter": "label=7", "diverse": true}',
            b'{"like": ["4f1c2a9b-0c1d-5e2f-8a3b-4c5d6e7f8a9b"], "unlike": []}',
            FORM + b'"image"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n' + os.urandom(40) + b"\r\n--x--\r\n",
            FORM + b'"k"\r\n\r\n5\r\n' + FORM + b'"like"\r\n\r\nab\r\n--x--\r\n',
        ],
    ),
    "image": Target(run_image, image_seeds()),
}
