"""Tar archives, compressed or not, read in place.

A tar has no directory: its members are found by going over it once. A compressed tar can only be unpacked forwards, and
several threads read at positions that are some images apart. So each position has a cursor of its own, which keeps the
bytes that it unpacked last, and no thread makes another start again.
"""

import io
import itertools
import tarfile
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from typing import IO, BinaryIO, cast

from retrieval.sources.base import check_size
from retrieval.sources.members import Member
from retrieval.sources.webdataset import is_description

CHUNK_BYTES = 2**17
KEPT_BYTES = 16 * 2**20
"""Unpacked bytes that a cursor keeps, or as many as one read needs."""
MOST_CURSORS = 8
READ_BYTES = 2**20
"""Compressed bytes that a cursor reads at once."""


class Tar:
    """An open tar: finds its members and reads their bytes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._archive = open_tar(file)
        self._packed = self._archive.fileobj is not file
        self._cursors: list[TarCursor] = []
        self.ended = False

    def members(self) -> Iterator[Member]:
        places: dict[str, Member] = {}
        passing = cast(IO[bytes], self._archive.fileobj)
        while info := self._archive.next():
            vars(self._archive)["members"].clear()  # tarfile keeps them all, a kilobyte each
            at, size, refusal = info.offset_data, info.size, None
            if info.islnk() and info.linkname in places:
                target = places[info.linkname]
                at, size, refusal = target.at, target.size, target.refusal
            elif info.issym() or info.islnk():
                refusal = "a link, and links in archives are not followed; pack the file itself"
            elif not info.isfile():
                continue  # a folder or a device
            elif info.issparse():
                refusal = "a sparse file; pack it again without --sparse"
            places[info.name] = Member(info.name, size, int(info.mtime * 10**9), at, refusal)
            if info.isfile() and not refusal and is_description(info.name, size):
                passing.seek(at)  # now, because going back is slow in a compressed tar and by URL
                yield replace(places[info.name], content=passing.read(size))
            else:
                yield places[info.name]
        # tarfile's loop also ends at a damaged header; the proper end is a block of zeros.
        passing.seek(self._archive.offset)
        end = passing.read(tarfile.BLOCKSIZE)
        if any(end):
            raise tarfile.ReadError(f"broken header at byte {self._archive.offset:,}")
        self.ended = len(end) == tarfile.BLOCKSIZE

    def read(self, member: Member, where: str) -> bytes:
        check_size(member.size, where)
        if self._packed:
            data = self._unpack(member.at, member.size)
        else:
            self._file.seek(member.at)
            data = self._file.read(member.size)
        if len(data) < member.size:
            raise tarfile.ReadError(f"it ends after {len(data):,} of {member.size:,} bytes")
        return data

    def _unpack(self, at: int, size: int) -> bytes:
        """Read by the nearest cursor that is not past the position, or by a new one; drops the least recently used."""
        cursor = max((c for c in self._cursors if c.start <= at), key=lambda c: c.start, default=None)
        if cursor:
            self._cursors.remove(cursor)
        else:
            cursor = TarCursor(cast(IO[bytes], open_tar(io.BufferedReader(FileView(self._file), READ_BYTES)).fileobj))
        data = cursor.read_at(at, size)  # if this raises, the cursor is not used again
        self._cursors = [*self._cursors[-MOST_CURSORS + 1 :], cursor]
        return data


def open_tar(file: IO[bytes]) -> tarfile.TarFile:
    """Open a tar with any compression; raises what tarfile raises."""
    return tarfile.open(fileobj=file, mode="r:*", encoding="utf-8", errors="surrogateescape")


class FileView(io.RawIOBase):
    """A shared file with a position of its own."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        assert whence == io.SEEK_SET or (offset == 0 and whence == io.SEEK_CUR), "seeking from the end is not supported"
        self._at = offset if whence == io.SEEK_SET else self._at
        return self._at

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        self._file.seek(self._at)
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


class TarCursor:
    """A stream that is read forwards only, and the chunks that were read last, all of one size except at the end."""

    def __init__(self, stream: IO[bytes]) -> None:
        stream.seek(0)
        self._stream = stream
        self._chunks: deque[bytes] = deque()
        self.start = self._end = 0

    def read_at(self, at: int, size: int) -> bytes:
        """`size` bytes from `at`, which must not be before `start`; fewer only at the stream's end.

        Raises what the stream raises.
        """
        while self._end < at + size and (chunk := self._stream.read(CHUNK_BYTES)):
            self._chunks.append(chunk)
            self._end += len(chunk)
            while (after := self.start + len(self._chunks[0])) <= min(at, self._end - KEPT_BYTES):
                self._chunks.popleft()
                self.start = after
        if size <= 0 or at >= self._end:
            return b""
        first, last = ((place - self.start) // CHUNK_BYTES for place in (at, at + size - 1))
        begin = at - self.start - first * CHUNK_BYTES
        return b"".join(itertools.islice(self._chunks, first, last + 1))[begin : begin + size]
