"""Tar archives, compressed or not, read in place.

A tar has no directory: its list is made by going over it once. A compressed one can only be read forwards, and
going back means unpacking from the start; so what was unpacked last is kept for threads that overtake each other.
"""

import itertools
import sys
import tarfile
from collections import deque
from collections.abc import Iterator
from typing import IO, BinaryIO, cast

from retrieval.sources.base import check_size
from retrieval.sources.members import Member

CHUNK_BYTES = 2**17
KEPT_BYTES = 64 * 2**20
"""Of a compressed tar, unpacked; more than eight threads are apart at a time."""


class Tar:
    """A tar: where each member's bytes begin, and how to get at them."""

    def __init__(self, file: BinaryIO) -> None:
        self._archive = tarfile.open(fileobj=file, mode="r:*", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115 - members are read later
        self._file = cast(IO[bytes], self._archive.fileobj)
        self._unpacked = None if self._file is file else Forwards(self._file)

    def members(self) -> Iterator[Member]:
        places: dict[str, Member] = {}
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
            yield places[info.name]
        # A damaged header ends tarfile's loop just as the proper end does, which is a block of zeros.
        self._file.seek(self._archive.offset)
        if any(self._file.read(tarfile.BLOCKSIZE)):
            raise tarfile.ReadError(f"broken header at byte {self._archive.offset:,}")

    def read(self, member: Member, where: str) -> bytes:
        check_size(member.size, where)
        if self._unpacked:
            data = self._unpacked.read_at(member.at, member.size)
        else:
            self._file.seek(member.at)
            data = self._file.read(member.size)
        if len(data) < member.size:
            raise tarfile.ReadError(f"it ends after {len(data):,} of {member.size:,} bytes")
        return data


class Forwards:
    """A stream that is slow to go back in: the last KEPT_BYTES that were read are kept.

    They are in chunks of CHUNK_BYTES each, only the stream's last being shorter.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._chunks: deque[bytes] = deque()
        self._start = self._end = sys.maxsize  # of what is kept; as long as nothing is, every place lies before it

    def read_at(self, at: int, size: int) -> bytes:
        """So many bytes from there, fewer only at the end; raises what the stream raises for damage."""
        try:
            if at < self._start:
                self._stream.seek(0)
                self._chunks.clear()
                self._start = self._end = 0
            while self._end < at + size and (chunk := self._stream.read(CHUNK_BYTES)):
                self._chunks.append(chunk)
                self._end += len(chunk)
                while (after := self._start + len(self._chunks[0])) <= min(at, self._end - KEPT_BYTES):
                    self._chunks.popleft()
                    self._start = after
        except BaseException:
            self._start = self._end = sys.maxsize  # where the stream is now, nobody knows
            raise
        if size <= 0 or at >= self._end:
            return b""
        first, last = ((place - self._start) // CHUNK_BYTES for place in (at, at + size - 1))
        begin = at - self._start - first * CHUNK_BYTES
        return b"".join(itertools.islice(self._chunks, first, last + 1))[begin : begin + size]
