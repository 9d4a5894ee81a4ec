"""Whether an image is gone: not by what a listing left out, but by what its source says when it is asked for it."""

import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from retrieval.errors import SourceError
from retrieval.schema.records import Root
from retrieval.sources.base import Source

AT_ONCE = 16
"""Keys asked for at the same time, for a source that answers over a network."""


@dataclass(slots=True)
class Presence:
    """What a source says of keys: those that are not there, and why it could not be asked for others.

    The rest are there.
    """

    gone: set[str] = field(default_factory=set)
    unsure: dict[str, str] = field(default_factory=dict)


def check_presence(source: Source, keys: Sequence[str]) -> Presence:
    """Ask the source for each key, and look before and after whether it is itself."""
    answer = Presence()
    try:
        source.check_unchanged()
        with ThreadPoolExecutor(AT_ONCE, "ask") as threads:
            for key, found in zip(keys, threads.map(lambda key: look_up(source, key), keys), strict=True):
                if isinstance(found, str):
                    answer.unsure[key] = found
                elif not found:
                    answer.gone.add(key)
        source.check_unchanged()
    except SourceError as error:
        return Presence(unsure=dict.fromkeys(keys, str(error)))
    return answer


def look_up(source: Source, key: str) -> bool | str:
    """Whether the source has it; why that cannot be said."""
    try:
        return source.has(key)
    except SourceError as error:
        return str(error)


class Snapshot:
    """A file as it was before it was opened."""

    def __init__(self, spec: str, look: Callable[[], object]) -> None:
        """`look` says what tells the file from another and from a later state of it; it may raise SourceError."""
        self._spec, self._look = spec, look
        self._first = look()

    def check(self) -> None:
        """Raise SourceError when it is another file now, or another state of it."""
        if self._look() != self._first:
            raise source_changed_error(self._spec)


def source_changed_error(spec: str) -> SourceError:
    """The error for a source that is another now, or not there."""
    return SourceError(
        f"{spec} is not what it was when its listing began",
        hint="is it still mounted? Run the same again",
    )


def file_state(path: Path) -> tuple[int, ...] | None:
    """Device, inode, size and time of a file; None when it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def file_identity(path: Path) -> tuple[int, int] | None:
    """Device and inode; None when it is not there."""
    found = file_state(path)
    return (found[0], found[1]) if found else None


def local_root(path: Path) -> Root:
    """What tells a file or folder of this machine from others; a file is often made anew, which changes its inode."""
    found = file_identity(path) if path.is_dir() else None
    return Root(str(path), socket.gethostname(), f"{found[0]}:{found[1]}" if found else "")
