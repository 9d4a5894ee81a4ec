"""The supported image formats: their suffixes and first bytes, and the Pillow plugin for each. Imports no Pillow."""

import importlib.util
from pathlib import Path
from typing import Literal, NamedTuple

from retrieval.util.extras import how_to_install

MAX_BYTES = 256 * 2**20
"""Largest image file, in bytes."""


class Format(NamedTuple):
    """An image format.

    name: Pillow's name
    plugin: the Pillow module that reads it
    suffixes: of its files, in lower case
    magic: first bytes of its files; empty if other files may begin the same
    """

    name: str
    plugin: str
    suffixes: tuple[str, ...]
    magic: tuple[bytes, ...]


_PILLOW = importlib.util.find_spec("PIL")
HAS_AVIF = any(any(Path(folder).glob("_avif.*")) for folder in (_PILLOW and _PILLOW.submodule_search_locations) or ())
"""Whether Pillow was built with AVIF; its own wheels are, since 11.3."""

FORMATS = (
    Format("PNG", "PngImagePlugin", (".png",), (b"\x89PNG",)),
    Format("JPEG", "JpegImagePlugin", (".jpg", ".jpeg", ".jpe", ".jfif"), (b"\xff\xd8\xff",)),
    Format("WEBP", "WebPImagePlugin", (".webp",), (b"RIFF",)),
    Format("GIF", "GifImagePlugin", (".gif",), (b"GIF8",)),
    Format("BMP", "BmpImagePlugin", (".bmp",), ()),
    Format("TIFF", "TiffImagePlugin", (".tif", ".tiff"), (b"II*\0", b"MM\0*")),
    Format("PPM", "PpmImagePlugin", (".ppm", ".pgm", ".pbm", ".pnm"), ()),
    *((Format("AVIF", "AvifImagePlugin", (".avif",), ()),) if HAS_AVIF else ()),
)

HAS_HEIF = importlib.util.find_spec("pi_heif") is not None
"""Whether the extra `heif` is installed."""
NO_HEIF = f"HEIF images need a package that is not installed: {how_to_install('heif')}"
NO_AVIF = "AVIF images need a newer Pillow: pip install --upgrade pillow"
HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

SUFFIXES = frozenset(suffix for each in FORMATS for suffix in each.suffixes) | (
    {".heic", ".heif", ".hif"} if HAS_HEIF else frozenset()
)
"""Lower-case suffixes of files that count as images."""

_OTHER_SUFFIXES = """
    .apng .arw .avif .avifs .cr2 .cr3 .dcm .dds .dib .dng .emf .eps .exr .fits .hdr .heic .heif .hif .icns .ico .j2c
    .j2k .jp2 .jpc .jpf .jpx .jxl .jxr .nef .orf .pcx .psb .psd .qoi .raf .raw .rw2 .sgi .svg .svgz .tga .wmf .xbm
    .xcf .xpm
"""
NOT_TAKEN = frozenset(_OTHER_SUFFIXES.split()) - SUFFIXES
"""Lower-case suffixes of unsupported image formats; such files are passed over and reported."""

HEAD_BYTES = 64
_OTHERS = (
    b"\0\0\1\0",
    b"\0\0\0\x0cjP  ",
    b"\xff\x4f\xff\x51",
    b"\xff\x0a",
    b"\0\0\0\x0cJXL ",
    b"8BPS",
    b"DDS ",
    b"icns",
)


def sniff(head: bytes) -> Literal["taken", "passed over"] | None:
    """Whether a file is taken or passed over, by its first bytes; None if they are not those of an image.

    head: the first HEAD_BYTES of the file
    """
    if head[:4] == b"RIFF":
        return "taken" if head[8:12] == b"WEBP" else None
    if brand := brand_of(head):
        return "taken" if (HAS_AVIF if brand == "AVIF" else HAS_HEIF) else "passed over"
    if head.startswith(tuple(magic for each in FORMATS for magic in each.magic)):
        return "taken"
    return "passed over" if head.startswith(_OTHERS) else None


def brand_of(head: bytes) -> Literal["AVIF", "HEIF"] | None:
    """AVIF or HEIF by the brands in the first ISO box (`ftyp`); None for all other files."""
    if head[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(head[:4], "big"), HEAD_BYTES)
    brands = [head[8:12], *(head[at : at + 4] for at in range(16, end, 4))]
    if b"avif" in brands or b"avis" in brands:
        return "AVIF"
    return "HEIF" if brands[0] in HEIF_BRANDS else None
