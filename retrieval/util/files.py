"""Files replaced whole: nobody reads half of one, and after a crash it is the old one or the new one."""

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
"""Bytes in a block of `st_blocks`, on every system that has it."""


def unwritable(
    path: Path, error: OSError, kind: type[RetrievalError] = RetrievalError, *, option: str = ""
) -> RetrievalError:
    """The error to raise for a place that the user named and that cannot be written to."""
    return kind(f"{path} cannot be written: {error.strerror}", hint="choose another place", option=option)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file beside it to write into, which takes its place when the block ends; then it survives a power cut.

    Raises OSError. When that or anything else is raised, the old file stays, and nothing of the new one.
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
    """Write it whole, as `replacing`."""
    with replacing(path) as file:
        file.write(data)


def write_synced(path: Path, data: bytes) -> None:
    """Write a new file; when this returns, its content survives a power cut. Raises OSError."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path, content: Any) -> None:
    """As `replace_file`."""
    replace_file(path, json_text(content, indent=1).encode())


def json_text(content: Any, **layout: Any) -> str:
    """As `json.dumps`, but a number that is none (NaN, infinite) is null: Python would write what is no JSON."""
    try:
        return json.dumps(content, allow_nan=False, **layout)
    except ValueError:
        return json.dumps(nulled(content), allow_nan=False, **layout)


def nulled(content: Any) -> Any:
    """The same with None in place of each number that is none.

    >>> nulled({"a": [1.5, float("nan"), float("-inf")]})
    {'a': [1.5, None, None]}
    """
    if isinstance(content, Mapping):
        return {name: nulled(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [nulled(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def sync_folder(folder: Path) -> None:
    """Make a rename in the folder durable, where the system can."""
    if os.name != "nt":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def disk_bytes(folder: Path) -> int:
    """What the files below a folder take on its disk, where the system says: holes in them take nothing."""
    found = (file.stat() for file in folder.rglob("*") if file.is_file())
    return sum(status.st_blocks * BLOCK if hasattr(status, "st_blocks") else status.st_size for status in found)


def write(path: Path, data: bytes) -> None:
    """Replace `path` in one step; raises RetrievalError, and leaves what was there, when that cannot be done."""
    try:
        replace_file(path, data)
    except OSError as error:
        raise unwritable(path, error) from error
