"""The image formats that are promised: by what they are known, and which part of Pillow reads them. Imports nothing."""

import importlib.util
from typing import NamedTuple

MAX_BYTES = 256 * 2**20
"""Size of the largest file that is looked at."""


class Format(NamedTuple):
    """name, plugin: Pillow's · suffixes: of files, in lower case · magic: how its files may begin."""

    name: str
    plugin: str
    suffixes: tuple[str, ...]
    magic: tuple[bytes, ...]


FORMATS = (
    Format("PNG", "PngImagePlugin", (".png",), (b"\x89PNG",)),
    Format("JPEG", "JpegImagePlugin", (".jpg", ".jpeg", ".jpe", ".jfif"), (b"\xff\xd8\xff",)),
    Format("WEBP", "WebPImagePlugin", (".webp",), (b"RIFF",)),
    Format("GIF", "GifImagePlugin", (".gif",), (b"GIF8",)),
    Format("BMP", "BmpImagePlugin", (".bmp",), ()),
    Format("TIFF", "TiffImagePlugin", (".tif", ".tiff"), (b"II*\0", b"MM\0*")),
    Format("PPM", "PpmImagePlugin", (".ppm", ".pgm", ".pbm", ".pnm"), ()),
)

HAS_HEIF = importlib.util.find_spec("pillow_heif") is not None
"""Whether the extra `heif` is installed."""
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

SUFFIXES = frozenset(suffix for each in FORMATS for suffix in each.suffixes) | (
    {".heic", ".heif", ".hif"} if HAS_HEIF else frozenset()
)
"""Lower-case file suffixes taken for images."""
