"""Writes a file whole or not at all, so that nobody ever opens half a page."""

from pathlib import Path

from retrieval.util.files import replace_file, unwritable


def write(path: Path, data: bytes) -> None:
    """Replace `path` in one step; raises RetrievalError, and leaves what was there, when that cannot be done."""
    try:
        replace_file(path, data)
    except OSError as error:
        raise unwritable(path, error) from error
