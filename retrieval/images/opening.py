"""From bytes to a loaded, upright Pillow image: supported formats, size limits and errors.

Pillow's decoders raise many kinds of exceptions. Here each becomes a BadImage with one plain line.
"""

import contextlib
import functools
import importlib
import io
import re
from collections.abc import Iterator

from PIL import ExifTags, Image, UnidentifiedImageError

from retrieval.errors import BadImage
from retrieval.images import libtiff
from retrieval.images.formats import FORMATS, HAS_AVIF, HAS_HEIF, HEAD_BYTES, MAX_BYTES, NO_AVIF, NO_HEIF, brand_of
from retrieval.images.memory import reserve_memory
from retrieval.images.warnings import suppress_warnings

_NAMES = tuple(each.name for each in FORMATS)
_KNOWN = (*_NAMES, "HEIF") if HAS_HEIF else _NAMES
_MAGIC = tuple(magic for each in FORMATS for magic in each.magic)

UNSUPPORTED = "an unsupported kind of image ({}); save it as PNG or JPEG"
_NOT_KNOWN = re.compile("unsupported|not supported|unknown (?!file)", re.IGNORECASE)
"""Words in Pillow's errors for files that are complete but unsupported."""
_COMPRESSION = 259
MAX_PIXELS = 100_000_000
"""Width times height of the largest image that is decoded: 400 MB in memory as colour."""
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def register_plugins(data: bytes = b"", brand: str | None = None) -> list[str]:
    """Import Pillow's plugins, which registers them; else Pillow imports all forty at the first WebP.

    data: a file; if it begins like one of the formats, that one suffices
    brand: the format that a file's brand names
    Returns the names of the formats.
    """
    alike = [each for each in FORMATS if each.name == brand or data.startswith(each.magic)]
    for each in alike or FORMATS:
        importlib.import_module(f"PIL.{each.plugin}")
    return [each.name for each in alike or FORMATS]


@contextlib.contextmanager
def decode_errors(where: str) -> Iterator[None]:
    """Turn any exception of Pillow's inside the block into BadImage, and suppress its warnings."""
    try:
        with suppress_warnings():
            yield
    except BadImage:
        raise
    except Image.DecompressionBombError as error:
        raise BadImage(where, f"more than {MAX_PIXELS:,} pixels; scale it down") from error
    except Exception as error:
        # For damaged files, plugins raise struct.error, SyntaxError, IndexError, MemoryError and more.
        detail = " ".join(str(error).split())[:120] or type(error).__name__
        reason = UNSUPPORTED.format(detail) if _NOT_KNOWN.search(detail) else f"truncated or damaged ({detail})"
        raise BadImage(where, reason) from error


@contextlib.contextmanager
def open_image(data: bytes, where: str, wanted: int) -> Iterator[Image.Image]:
    """Open an image for use inside the block, once there is memory to decode it.

    data: the file's bytes
    where: the image's name in errors
    wanted: the number of pixels a side to which it will be decoded
    Raises BadImage for an image that must not be decoded, and for any exception of Pillow's inside the block.
    """
    with decode_errors(where):
        image = open_header(data, where)
        with reserve_memory(image, wanted, where):
            try:
                if image.format == "PNG" and b"eXIf" in data:
                    image.load()  # a PNG's EXIF may come after the pixels
                yield image
            finally:
                image.close()  # frees the pixels, even if something still references the image


def open_header(data: bytes, where: str) -> Image.Image:
    """Read the header; raises BadImage for an image that must not be decoded. Call inside `decode_errors`."""
    if not data:
        raise BadImage(where, "the file is empty")
    if len(data) > MAX_BYTES:
        raise BadImage(where, f"larger than {MAX_BYTES:,} bytes; scale it down")
    brand = brand_of(data[:HEAD_BYTES])
    if brand == "HEIF" and not _register_heif():
        raise BadImage(where, NO_HEIF)
    if brand == "AVIF" and not HAS_AVIF:
        raise BadImage(where, NO_AVIF)
    formats = ["HEIF"] if brand == "HEIF" else register_plugins(data, brand)
    try:
        image = Image.open(io.BytesIO(data), formats=formats)
    except UnidentifiedImageError as error:
        if brand or data.startswith(_MAGIC):
            raise BadImage(where, _trouble(data) or "truncated or damaged (its header cannot be read)") from error
        raise BadImage(where, f"not an image in a known format ({', '.join(_KNOWN)})") from error
    if image.width * image.height > MAX_PIXELS:
        raise BadImage(where, f"{image.width}x{image.height} pixels, more than {MAX_PIXELS:,}; scale it down")
    if image.mode == "F":
        raise BadImage(where, "floating-point pixels have no defined black and white; save it with 8 or 16 bits")
    return image


def load_pixels(image: Image.Image, wanted: int, where: str) -> None:
    """Decode the pixels; a JPEG at 1/2, 1/4 or 1/8 of its size if both sides keep at least `2 * wanted` pixels.

    Raises BadImage for a TIFF compression that libtiff does not support.
    """
    image.draft("RGB", (2 * wanted, 2 * wanted))
    if image.format == "TIFF" and not libtiff.supports(code := compression(image)):
        raise BadImage(where, UNSUPPORTED.format(f"TIFF compression {code}"))
    image.load()  # unlike verify(), this notices a truncated file


def compression(image: Image.Image) -> int:
    """The value of a TIFF's compression tag; 1, no compression, if it has none."""
    found = getattr(image, "tag_v2", {}).get(_COMPRESSION, 1)
    return found if isinstance(found, int) else 1


def upright_part(image: Image.Image, turned: int, box: tuple[int, int, int, int]) -> Image.Image:
    """The part of a loaded image inside a box, upright.

    turned: EXIF orientation, 1 to 8
    box: (left, top, right, bottom) in pixels of the upright image
    """
    left, top, right, bottom = box
    if turned >= 5:
        left, top, right, bottom = top, left, bottom, right
    if turned in (2, 3, 7, 8):
        left, right = image.width - right, image.width - left
    if turned in (3, 4, 6, 7):
        top, bottom = image.height - bottom, image.height - top
    whole = (left, top, right, bottom) == (0, 0, *image.size)
    part = image if whole else image.crop((left, top, right, bottom))
    return part.transpose(_TRANSPOSE[turned]) if turned in _TRANSPOSE else part


def upright_size(image: Image.Image, turned: int) -> tuple[int, int]:
    """(width, height) of an opened image after turning it upright.

    turned: EXIF orientation, 1 to 8
    """
    return (image.height, image.width) if turned >= 5 else image.size


def _trouble(data: bytes) -> str | None:
    """Why a file cannot be opened, if its kind is unsupported rather than the file damaged; else None.

    Pillow gives the reason only when the format's plugin is called directly.
    """
    for each in FORMATS:
        if data.startswith(each.magic):
            try:
                Image.OPEN[each.name][0](io.BytesIO(data), "")
            except Exception as error:  # noqa: BLE001 - any, as in `decode_errors`
                if isinstance(error.__cause__, KeyError) or _NOT_KNOWN.search(str(error)):
                    return UNSUPPORTED.format(f"{each.name}: {error}")
    return None


def orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 if there is none or it cannot be read. Decodes no pixels."""
    if image.format == "TIFF":
        return 1  # Pillow turns a TIFF itself when it loads it, and reports the size after that
    value: object = None
    with contextlib.suppress(Exception):  # corrupt EXIF raises as many kinds of exceptions as a corrupt file
        # The base class's method: PNG's own would decode the whole image.
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    return value if isinstance(value, int) and value in _TRANSPOSE else 1


@functools.cache
def _register_heif() -> bool:
    if not HAS_HEIF:
        return False
    import pi_heif

    pi_heif.register_heif_opener()
    return True
