"""Images and requests that try to stop the service, for `scripts/bench_serve` and the tests."""

import io
import zlib
from struct import pack

from PIL import Image


def many_scans(side: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan, a refinement, is repeated."""
    out = io.BytesIO()
    Image.new("RGB", (side, side), (90, 140, 200)).save(out, "JPEG", progressive=True)
    data = out.getvalue()
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * scans + data[-2:]


def wide_png(side: int) -> bytes:
    """A small file of many pixels with opacity, in order."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return pack(">I", len(body)) + name + body + pack(">I", zlib.crc32(name + body))

    packer = zlib.compressobj(9)
    rows = [packer.compress(b"\0" + bytes((row % 251, 90, 200, 127)) * side) for row in range(side)]
    header = pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    pixels = b"".join([*rows, packer.flush()])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
