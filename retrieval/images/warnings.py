"""Suppresses Pillow's warnings about corrupt EXIF, odd palettes and large images, which decode well anyway."""

import contextlib
import threading
import warnings
from collections.abc import Iterator

_lock = threading.Lock()
_inside = 0
_silence = contextlib.ExitStack()


@contextlib.contextmanager
def suppress_warnings() -> Iterator[None]:
    """Suppress Pillow's warnings inside the block, in any number of threads at once.

    Warning filters are per process: the first thread that enters sets them, the last one that leaves restores them.
    """
    global _inside
    with _lock:
        if _inside == 0:
            _silence.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", module=r"PIL\.|pi_heif")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _silence.close()
