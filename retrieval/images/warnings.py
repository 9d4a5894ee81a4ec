"""Pillow warns of corrupt EXIF, odd palettes and big pictures that decode well; nobody needs to see that."""

import contextlib
import threading
import warnings
from collections.abc import Iterator

_lock = threading.Lock()
_inside = 0
_silence = contextlib.ExitStack()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings from Pillow inside the block, in any number of threads at once.

    Filters belong to the whole process: the first thread in sets them, the last one out puts them back.
    """
    global _inside
    with _lock:
        if _inside == 0:
            _silence.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=r"PIL\.|pillow_heif")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _silence.close()
