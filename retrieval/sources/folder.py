"""Folders, and single image files.

Symbolic links to folders are not followed, so there are no loops. A link to a file counts as an image when it
leads to a regular file inside the root (git-annex and DVC trees are made so); any other is listed and refused
when read: it then shows up among the refused images instead of being left out in silence.

What is an image is told by the suffix; of files without one the first bytes are looked at. Images of other formats
are counted and named.
"""

import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Literal

from retrieval.errors import BadImage, SourceError
from retrieval.images.formats import HEAD_BYTES, begins_as
from retrieval.sources.base import (
    Entry,
    PassedOver,
    folder_label,
    has_no_suffix,
    is_image,
    is_listable,
    is_passed_over,
    key_of,
    no_images,
    path_of,
    read_bounded,
)


class Folder:
    """All images under a folder: depth first, names sorted in each folder, listed while they are consumed."""

    whole = True
    portable = True

    def __init__(self, name: str, root: Path, *, labels: bool = False) -> None:
        self.name = name
        self.root = root
        self.spec = str(root)
        self.labels = labels
        self._real_root = root.resolve()
        self.passed_over = PassedOver()

    def entries(self) -> Iterator[Entry]:
        """Every image; raises SourceError when there is none or a folder cannot be listed."""
        files = images = 0
        self.passed_over = PassedOver()
        waiting = [(item, "") for item in self._list(self.root)]
        while waiting:
            item, parent = waiting.pop()
            if item.name.startswith("."):
                continue
            if item.is_dir(follow_symlinks=False):
                waiting.extend((child, f"{parent}{item.name}/") for child in self._list(item.path))
                continue
            files += 1
            key, kind = key_of(parent + item.name), kind_of(item)
            if kind == "taken" and (entry := self._entry(item, key)):
                images += 1
                yield entry
            elif kind == "passed over":
                self.passed_over.add(key)
        if not images:
            raise no_images(self.spec, files)

    def read(self, key: str) -> bytes:
        """The image with that key; raises BadImage, also for a key that leads outside the folder."""
        bare = has_no_suffix(key)
        if is_listable(f"{key}.png" if bare else key):
            data = self._read_inside(key, None)
            if not bare or begins_as(data[:HEAD_BYTES]) == "taken":
                return data
        raise BadImage(f"{self.name}/{key}", f"no such image in {self.spec}")

    def _list(self, folder: str | Path) -> list["os.DirEntry[str]"]:
        """What the folder holds, last name first, because the caller pops from the end."""
        try:
            with os.scandir(folder) as items:
                return sorted(items, key=lambda item: item.name, reverse=True)
        except FileNotFoundError as error:
            if folder is self.root:
                raise SourceError(f"{self.spec} is not there any more") from error
            return []  # removed after its parent was listed
        except OSError as error:
            raise SourceError(f"{key_of(str(folder))} cannot be listed: {error.strerror}") from error

    def _entry(self, item: "os.DirEntry[str]", key: str) -> Entry | None:
        """None for what is no file (a pipe, a link to a folder) and for one that has just been removed."""
        link = item.is_symlink()
        try:
            status = item.stat()
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not link:
                return None
            size = mtime_ns = 0  # reading it will say what is wrong
        else:
            if not stat.S_ISREG(status.st_mode):
                return None
            size, mtime_ns = status.st_size, status.st_mtime_ns
        label = folder_label(key) if self.labels else None
        fetch = (
            partial(self._read_inside, key, Path(item.path))
            if link
            else partial(read_file, item.path, f"{self.name}/{key}")
        )
        return Entry(self.name, key, size, mtime_ns, label, fetch)

    def _read_inside(self, key: str, path: Path | None) -> bytes:
        where = f"{self.name}/{key}"
        try:
            real = (path or self.path_of(key)).resolve(strict=True)
        except (OSError, ValueError, RuntimeError) as error:  # missing; NUL in the key; links in a circle
            raise BadImage(where, "not there, or a link that leads nowhere") from error
        if not real.is_relative_to(self._real_root):
            raise BadImage(where, f"a link that leads outside {self.spec}; copy the file there or ingest its folder")
        return read_file(real, where)

    def path_of(self, key: str) -> Path:
        """The path of a listed key; a part of it may stand for a name that is not UTF-8."""
        path = self.root / path_of(key)
        # keys of older collections are the path itself also where that reads like bytes
        return path if path_of(key) == key or os.path.lexists(path) else self.root / key


def kind_of(item: "os.DirEntry[str]") -> Literal["taken", "passed over"] | None:
    """What becomes of a file by its name, or by how it begins where its name has no suffix; None for other files."""
    if is_image(item.name):
        return "taken"
    if is_passed_over(item.name):
        return "passed over"
    if not has_no_suffix(item.name) or not item.is_file(follow_symlinks=False):
        return None
    try:
        with open(item.path, "rb", buffering=0, opener=_open_regular) as file:
            return begins_as(file.read(HEAD_BYTES))
    except OSError:
        return None


class File:
    """One image file. It bears its folder's name, and so is the same image as in its folder."""

    whole = False
    labels = False
    portable = True

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.spec = str(path)
        self._path = path
        self._key = key_of(path.name)

    def entries(self) -> Iterator[Entry]:
        """The one image; raises SourceError when it is gone."""
        try:
            status = self._path.stat()
        except OSError as error:
            raise SourceError(f"{self.spec} cannot be read: {error.strerror}") from error
        yield Entry(self.name, self._key, status.st_size, status.st_mtime_ns, None, partial(self.read, self._key))

    def read(self, key: str) -> bytes:
        """The image; raises BadImage for any other key."""
        if key != self._key:
            raise BadImage(f"{self.name}/{key}", f"no such image in {self.spec}")
        return read_file(self._path, f"{self.name}/{key}")


def read_file(path: str | Path, where: str) -> bytes:
    """The bytes of a regular file; raises BadImage when it has vanished, cannot be read or is too large."""
    try:
        with open(path, "rb", opener=_open_regular) as file:
            return read_bounded(file, where)
    except OSError as error:
        raise BadImage(where, f"cannot be read: {error.strerror}") from error
    except ValueError as error:  # a path with NUL in it
        raise BadImage(where, f"cannot be read: {error}") from error


def _open_regular(path: str, flags: int) -> int:
    """Opening a pipe that has no writer would wait for ever."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
