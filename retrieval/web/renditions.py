"""A bounded cache on disk of drawn images, named by their content, so that an image is decoded once, not per view."""

import contextlib
import os
import secrets
import threading
import time
from pathlib import Path

from retrieval.util.files import BLOCK, disk_bytes

ENDS = {"jpg": b"\xff\xd9", "png": b"IEND\xaeB`\x82"}
"""How files end; one that was cut off by a crash does not, and is drawn again."""
VERSION = 1
"""To be raised when images are drawn differently."""
KEPT_SHARE = 0.8
"""Share of the limit that is kept when the cache is trimmed."""
USED_SECONDS = 3600
"""A file's time is its last use, to this precision."""


class Renditions:
    """Files below a folder; may be used by several threads and processes. A disk that cannot be written is no error."""

    def __init__(self, folder: Path, limit: int) -> None:
        """limit: bytes on disk; beyond it, those not used for longest are deleted."""
        self._folder, self._limit = folder, limit
        self._lock = threading.Lock()
        self._bytes: int | None = None

    def get(self, sha256: str, side: int, kind: str) -> bytes | None:
        """The drawn image, if it is here.

        sha256: of the image's file, hex
        side: longest edge, in pixels
        kind: `jpg` or `png`
        """
        path = self._path(sha256, side, kind)
        try:
            data = path.read_bytes()
            if time.time() - path.stat().st_mtime > USED_SECONDS:
                os.utime(path)
        except OSError:
            return None
        return data if data.endswith(ENDS[kind]) else None

    def put(self, sha256: str, side: int, kind: str, data: bytes) -> None:
        """Keep a drawn image, and delete old ones if there are too many."""
        path = self._path(sha256, side, kind)
        draft = path.with_name(f".{secrets.token_hex(8)}")
        with contextlib.suppress(OSError):
            try:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                draft.write_bytes(data)
                draft.replace(path)
            finally:
                draft.unlink(missing_ok=True)
            with self._lock:
                known = disk_bytes(self._folder) if self._bytes is None else self._bytes + len(data)
                self._bytes = self._trim() if known > self._limit else known

    def _path(self, sha256: str, side: int, kind: str) -> Path:
        return self._folder / sha256[:2] / f"{sha256}-{side}-{VERSION}.{kind}"

    def _trim(self) -> int:
        """Delete the files that were not used for longest; returns the bytes of those that are left."""
        found = []
        for file in self._folder.glob("??/*"):
            with contextlib.suppress(OSError):  # another process deleted it
                status = file.stat()
                found.append((status.st_mtime, getattr(status, "st_blocks", 0) * BLOCK or status.st_size, file))
        total = sum(size for _, size, _ in found)
        for _, size, file in sorted(found):
            if total <= KEPT_SHARE * self._limit:
                break
            file.unlink(missing_ok=True)
            total -= size
        return total
