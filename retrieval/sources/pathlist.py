"""Text files of paths, one per line: for scattered images, or a selection."""

import os
import posixpath
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from retrieval.errors import BadImage, SourceError
from retrieval.schema.records import Root, full_name
from retrieval.sources.base import Entry, folder_label, key_of
from retrieval.sources.folder import read_file
from retrieval.sources.presence import Snapshot, file_state, local_root

LONGEST_LINE = 2**16
"""Maximum bytes in a line; a file with a longer line is not a list of paths."""
_OUTSIDE = "root:"


class PathList:
    """The files that a list names, in its order, each once.

    A path is relative to the list's folder, or absolute. It may lead anywhere, and links are followed, because the user
    chose the list. Blank lines and lines that start with `#` are skipped. A path that does not exist or is not an image
    is listed too, and refused when read.

    The key of a file below the list's folder is its relative path; of any other, `root:` and the absolute path.
    """

    whole = True
    portable = True

    def __init__(self, name: str, path: Path, *, labels: bool = False) -> None:
        self.name = name
        self.spec = str(path)
        self._path = path
        self._base = path.parent.as_posix()
        self.labels = labels
        self._known: dict[str, str] | None = None
        self._snapshot = self._take_snapshot()

    def entries(self) -> Iterator[Entry]:
        """Every path; raises SourceError if none of them exists, as when a disk is not mounted."""
        self._known, self._snapshot = None, self._take_snapshot()
        if not any(os.path.lexists(path) for path in self._paths()):
            first = next(self._paths(), None)
            raise SourceError(
                f"{self.spec} holds no paths"
                if first is None
                else f"{self.spec}: none of the paths in it leads to a file; the first is {key_of(first)!r}"
            )
        seen: set[int] = set()
        for path in self._paths():
            key = self._key(path)
            if (mark := hash(key)) in seen:  # 64 bits of each key, for lists of millions
                continue
            seen.add(mark)
            try:
                status = Path(path).stat()
            except (OSError, ValueError):  # reading it will raise an error that says why
                size = mtime_ns = 0
            else:
                size, mtime_ns = status.st_size, status.st_mtime_ns
            label = folder_label(key) if self.labels else None
            yield Entry(self.name, key, size, mtime_ns, label, partial(read_file, path, full_name(self.name, key)))

    def read(self, key: str) -> bytes:
        """The image file with that key; raises BadImage, also for a file that the list does not name."""
        where = full_name(self.name, key)
        try:
            known = self._paths_by_key()
        except SourceError as error:
            raise BadImage(where, str(error)) from error
        if key not in known:
            raise BadImage(where, f"no such image in {self.spec}")
        return read_file(known[key], where)

    def identify(self) -> Root:
        """The list's path."""
        return local_root(self._path)

    def check_unchanged(self) -> None:
        """Raise SourceError if the list was replaced or changed."""
        self._snapshot.check()

    def has(self, key: str) -> bool:
        """Whether the list names the key: a file that is named but missing is refused, not gone."""
        return key in self._paths_by_key()

    def _take_snapshot(self) -> Snapshot:
        return Snapshot(self.spec, partial(file_state, self._path))

    def _paths_by_key(self) -> dict[str, str]:
        if self._known is None:
            self._known = {self._key(path): path for path in self._paths()}
        return self._known

    def _paths(self) -> Iterator[str]:
        """Absolute paths, without `.` and `..`."""
        try:
            with self._path.open("rb") as file:
                for number, line in enumerate(iter(partial(file.readline, LONGEST_LINE + 1), b""), 1):
                    if len(line) > LONGEST_LINE:
                        raise SourceError(
                            f"{self.spec}, line {number}: over {LONGEST_LINE:,} bytes, so not a list of paths"
                        )
                    path = line.removeprefix(b"\xef\xbb\xbf" if number == 1 else b"").rstrip(b"\r\n")
                    if path.strip() and not path.lstrip().startswith(b"#"):
                        yield posixpath.normpath(posixpath.join(self._base, os.fsdecode(path)))
        except OSError as error:
            raise SourceError(f"{self.spec} cannot be read: {error.strerror}") from error

    def _key(self, path: str) -> str:
        below = path.removeprefix(f"{self._base.rstrip('/')}/")
        if below == path or below.startswith(f"{_OUTSIDE}/"):
            below = f"{_OUTSIDE}/{path.lstrip('/')}"
        return key_of(below)
