"""Silences libtiff, which would write warnings to standard error, and asks which compressions it supports.

libtiff is a C library, so its warnings about unusual tags bypass Python.
"""

import ctypes
import functools
from pathlib import Path

import PIL

MAPS = Path("/proc/self/maps")


@functools.cache
def load_library() -> ctypes.CDLL | None:
    """The libtiff that Pillow has loaded, silenced; None if the system does not tell which file that is."""
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
    """Whether libtiff was built with that compression (a TIFF tag's value); True if that is unknown."""
    found = load_library()
    return found is None or bool(found.TIFFIsCODECConfigured(ctypes.c_uint16(compression)))
