"""The C library that reads TIFF, where it can be reached: kept quiet, and asked what it reads.

It writes warnings to the process's standard error past Python, for every strange tag of every file.
"""

import ctypes
import functools
from pathlib import Path

import PIL

MAPS = Path("/proc/self/maps")


@functools.cache
def load_library() -> ctypes.CDLL | None:
    """The one that Pillow has loaded, kept quiet from now on; None where the system does not say which."""
    from PIL import _imaging  # noqa: F401 - it loads the library

    if MAPS.exists():
        files = {line.split(maxsplit=5)[5].strip() for line in MAPS.read_text().splitlines() if "libtiff" in line}
    else:
        files = {str(file) for file in Path(PIL.__file__).parent.glob(".dylibs/libtiff*")}
    try:
        found = ctypes.CDLL(files.pop())
        for handler in (found.TIFFSetWarningHandler, found.TIFFSetErrorHandler):
            handler.restype, handler.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
            handler(None)
    except (KeyError, OSError, AttributeError):
        return None
    return found


def supports(compression: int) -> bool:
    """Whether it was built with that compression; True where it cannot be asked."""
    found = load_library()
    return found is None or bool(found.TIFFIsCODECConfigured(ctypes.c_uint16(compression)))
