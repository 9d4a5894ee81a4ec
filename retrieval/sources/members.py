"""What an archive holds, and the zip among them."""

import datetime as dt
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from retrieval.sources.base import read_bounded


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive, images and others.

    at: where a tar's begins, in bytes from the start of the unpacked tar · refusal: why it must not be read.
    """

    path: str
    size: int
    mtime_ns: int
    at: int = 0
    refusal: str | None = None


class Contents(Protocol):
    """An open archive; for one thread at a time."""

    ended: bool
    """Whether its own end was seen, once `members` is through: else it may go on."""

    def members(self) -> Iterator[Member]:
        """Every file, in the archive's order; called once."""

    def read(self, member: Member, where: str) -> bytes:
        """What the member holds; raises BadImage when that is too large."""


class Zip:
    """A zip: its directory is at its end, and is read as a whole."""

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
    """Nanoseconds, the zip's local time taken as UTC; 0 for none or the oldest date, which means none."""
    if info.date_time == (1980, 1, 1, 0, 0, 0):
        return 0
    try:
        return int(dt.datetime(*info.date_time, tzinfo=dt.UTC).timestamp()) * 10**9
    except ValueError:
        return 0
