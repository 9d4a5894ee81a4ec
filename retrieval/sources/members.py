"""The interface of an open archive and its members, and its implementation for zip."""

import datetime as dt
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from retrieval.sources.base import read_bounded


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive, an image or not.

    at: offset of its content in the uncompressed tar; in a zip, of its header
    refusal: why it must not be read; None if it may be
    content: of a small file that may describe an image, which was read in passing
    """

    path: str
    size: int
    mtime_ns: int
    at: int = 0
    refusal: str | None = None
    content: bytes | None = None


class Contents(Protocol):
    """An open archive; not thread-safe."""

    ended: bool
    """Whether the archive's end was found after `members` has returned all; if not, it may be truncated."""

    def members(self) -> Iterator[Member]:
        """Every file, in the archive's order; called once."""

    def read(self, member: Member, where: str) -> bytes:
        """The member's content; raises BadImage if it is too large."""


class Zip:
    """A zip: its directory is at the end of the file, and is read at once."""

    ended = True

    def __init__(self, file: BinaryIO) -> None:
        self._archive = zipfile.ZipFile(file)

    def members(self) -> Iterator[Member]:
        for info in self._archive.infolist():
            if not info.is_dir():
                yield Member(info.filename, info.file_size, _mtime_ns(info), info.header_offset)

    def read(self, member: Member, where: str) -> bytes:
        with self._archive.open(member.path) as content:
            return read_bounded(content, where)


def _mtime_ns(info: zipfile.ZipInfo) -> int:
    """Time in nanoseconds, taking the zip's local time as UTC; 0 for no time or 1980-01-01, which means none."""
    if info.date_time == (1980, 1, 1, 0, 0, 0):
        return 0
    try:
        return int(dt.datetime(*info.date_time, tzinfo=dt.UTC).timestamp()) * 10**9
    except ValueError:
        return 0
