"""Whether images and sources are still there.

An image counts as gone only if its source, asked for that key, says so; never because a listing left it out.
"""

import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from retrieval.errors import SourceError
from retrieval.schema.records import Root
from retrieval.sources.base import Source

AT_ONCE = 16
"""Keys that are looked up concurrently, for sources on a network."""


@dataclass(slots=True)
class Presence:
    """Which keys a source does not have. Keys in neither field are there.

    gone: keys that the source does not have
    unsure: keys that could not be looked up → why
    """

    gone: set[str] = field(default_factory=set)
    unsure: dict[str, str] = field(default_factory=dict)


def check_presence(source: Source, keys: Sequence[str]) -> Presence:
    """Look up each key in the source, and check before and after that the source is unchanged."""
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
    """Whether the source has the key; or the reason why that is unknown."""
    try:
        return source.has(key)
    except SourceError as error:
        return str(error)


class Snapshot:
    """The state of a file before it was opened."""

    def __init__(self, spec: str, look: Callable[[], object]) -> None:
        """look: returns a value that differs for another file or a later state of this one; may raise SourceError."""
        self._spec, self._look = spec, look
        self._first = look()

    def check(self) -> None:
        """Raise SourceError if the file was replaced or changed."""
        if self._look() != self._first:
            raise source_changed_error(self._spec)


def source_changed_error(spec: str) -> SourceError:
    """The error for a source that was replaced, changed or removed."""
    return SourceError(
        f"{spec} has changed since its listing began",
        hint="check that it is still mounted, and rerun the command",
    )


def file_state(path: Path) -> tuple[int, ...] | None:
    """Device, inode, size and time of a file; None if it does not exist."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def file_identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of a file or folder; None if it does not exist."""
    found = file_state(path)
    return (found[0], found[1]) if found else None


def local_root(path: Path) -> Root:
    """The root of a source on this machine; only folders have an inode, because files are often rewritten."""
    found = file_identity(path) if path.is_dir() else None
    return Root(str(path), socket.gethostname(), f"{found[0]}:{found[1]}" if found else "")
