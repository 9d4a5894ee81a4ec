"""Files replaced atomically: a reader, also after a crash, finds either the old file or the new one, never half."""

import contextlib
import json
import math
import os
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from retrieval.errors import RetrievalError

BLOCK = 512
"""Bytes in a block of `st_blocks`, on every system that reports it."""


RERUN = "fix this and rerun the command"
"""The hint where the user cannot choose another place."""


def write_error(
    path: Path,
    error: OSError,
    kind: type[RetrievalError] = RetrievalError,
    *,
    option: str = "",
    hint: str = "choose another place",
) -> RetrievalError:
    """The error to raise for a file or folder that cannot be written.

    hint: RERUN for a place that the user did not name
    """
    return kind(f"{path} cannot be written: {error.strerror}", hint=hint, option=option)


@contextlib.contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """A temporary file beside `path` that replaces it when the block ends, synced so that it survives a power cut.

    Raises OSError. After any exception the old file is unchanged and the temporary one is removed.
    """
    draft = path.with_name(f".{path.name[:50]}.{secrets.token_hex(4)}")  # a character may take four bytes of 255
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    sync_folder(path.parent)


def replace_file(path: Path, data: bytes) -> None:
    """Replace the file's content, as `open_atomic`."""
    with open_atomic(path) as file:
        file.write(data)


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file and sync its content, so that it survives a power cut; raises OSError."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, content: Any) -> None:
    """Replace the file's content by JSON, as `replace_file`."""
    replace_file(path, to_json_text(content, indent=1).encode())


def to_json_text(content: Any, **layout: Any) -> str:
    """As `json.dumps`, with null for NaN and infinite numbers: Python would write them as invalid JSON."""
    try:
        return json.dumps(content, allow_nan=False, **layout)
    except ValueError:
        return json.dumps(replace_non_finite(content), allow_nan=False, **layout)


def replace_non_finite(content: Any) -> Any:
    """The same content, with None in place of NaN and infinite numbers.

    >>> replace_non_finite({"a": [1.5, float("nan"), float("-inf")]})
    {'a': [1.5, None, None]}
    """
    if isinstance(content, Mapping):
        return {name: replace_non_finite(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [replace_non_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def sync_folder(folder: Path) -> None:
    """Make a rename in the folder durable, if the system can."""
    if os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def disk_bytes(folder: Path) -> int:
    """Bytes that the files below a folder take on disk, without holes if the system reports blocks."""
    found = (file.stat() for file in folder.rglob("*") if file.is_file())
    return sum(status.st_blocks * BLOCK if hasattr(status, "st_blocks") else status.st_size for status in found)


def write_output(path: Path, data: bytes) -> None:
    """Replace a file that the user named; raises RetrievalError, and keeps the old file, if it cannot be written."""
    try:
        replace_file(path, data)
    except OSError as error:
        raise write_error(path, error) from error
