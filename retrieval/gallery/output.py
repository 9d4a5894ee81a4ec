"""Writes a file whole or not at all, so that nobody ever opens half a page."""

import os
from pathlib import Path

from retrieval.errors import RetrievalError


def write(path: Path, data: bytes) -> None:
    """Replace `path` in one step; raises RetrievalError, and leaves what was there, when that cannot be done."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            part.write_bytes(data)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise RetrievalError(f"cannot write {path}: {error.strerror}; choose another place") from error
