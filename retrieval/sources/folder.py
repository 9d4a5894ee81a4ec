"""Folders, and single image files.

Symbolic links to folders are not followed, so that there are no loops. A link to a regular file inside the root counts
as an image (git-annex and DVC make such trees). Any other link is listed, and refused when read, so that the user
learns of it.

Images are recognised by their suffix; files without one, by their first bytes. Images in unsupported formats are
counted and named.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Literal

from retrieval.errors import BadImage, SourceError
from retrieval.images.formats import HEAD_BYTES, sniff
from retrieval.schema.records import Root, full_name
from retrieval.sources.base import (
    Entry,
    PassedOver,
    folder_label,
    has_no_suffix,
    is_hidden,
    is_image,
    is_listable,
    is_passed_over,
    key_of,
    no_images_error,
    path_of,
    read_bounded,
)
from retrieval.sources.presence import file_identity, local_root, source_changed_error

NOWHERE = "missing, or a broken link"


class Folder:
    """All images under a folder: depth first, sorted by name in each folder, listed lazily."""

    whole = True
    portable = True

    def __init__(self, name: str, root: Path, *, labels: bool = False) -> None:
        self.name = name
        self.root = root
        self.spec = str(root)
        self.labels = labels
        self._real_root = root.resolve()
        self._root_identity = file_identity(root)
        self._folders: dict[int, int] = {}
        """The folders as listed: hash of the key → hash of device and inode."""
        self.passed_over = PassedOver()

    def entries(self) -> Iterator[Entry]:
        """Every image; raises SourceError if there is none, a folder cannot be listed, or the root is replaced."""
        files = images = 0
        self._root_identity, self._folders = file_identity(self.root), {}
        self.passed_over = PassedOver()
        waiting = [(item, "") for item in self._list(self.root, "")]
        while waiting:
            item, parent = waiting.pop()
            if item.name.startswith("."):
                continue
            if item.is_dir(follow_symlinks=False):
                inside = f"{parent}{item.name}/"
                waiting.extend((child, inside) for child in self._list(Path(item.path), inside))
                continue
            files += 1
            key, kind = key_of(parent + item.name), classify_file(item)
            if kind == "taken" and (entry := self._entry(item, key)):
                images += 1
                yield entry
            elif kind == "passed over":
                self.passed_over.add(key)
        self.check_unchanged()
        if not images:
            raise no_images_error(self.spec, files)

    def read(self, key: str) -> bytes:
        """The image file with that key; raises BadImage, also for a key that leads outside the folder."""
        where, bare = full_name(self.name, key), has_no_suffix(key)
        if is_listable(f"{key}.png" if bare else key):
            data = read_inside(self.path_of(key), self._real_root, where)
            if not bare or sniff(data[:HEAD_BYTES]) == "taken":
                return data
        raise BadImage(where, f"no such image in {self.spec}")

    def identify(self) -> Root:
        """The folder's path, host, device and inode."""
        return local_root(self.root)

    def check_unchanged(self) -> None:
        """Raise SourceError unless the root is still the same folder."""
        if self._root_identity is None or file_identity(self.root) != self._root_identity:
            raise source_changed_error(self.spec)

    def has(self, key: str) -> bool:
        """Check the file and each folder above it; raises SourceError if one of the folders was replaced."""
        if is_hidden(key) or "\0" in key:
            return False
        parent, _, name = key.rpartition("/")
        try:
            folder = self._folder(parent)
            if folder is None:
                return False
            path = join_key(folder, name)
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                with contextlib.suppress(OSError):  # a broken link is listed, and refused when read
                    return stat.S_ISREG(path.stat().st_mode)
                return True
            return stat.S_ISREG(status.st_mode)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise SourceError(f"{full_name(self.name, key)} cannot be checked: {error.strerror}") from error

    def _folder(self, key: str) -> Path | None:
        """The folder with that key; None if it is gone or not a folder.

        Raises OSError, and SourceError if a folder on the way is not the one that was listed (its disk was unmounted).
        """
        path, so_far = self.root, ""
        for part in key.split("/") if key else ():
            so_far = f"{so_far}{part}/"
            try:
                path = join_key(path, part)
                status = path.lstat()
            except FileNotFoundError:
                return None
            if not stat.S_ISDIR(status.st_mode):
                return None
            was = self._folders.get(hash(so_far))
            if was is not None and was != hash((status.st_dev, status.st_ino)):
                raise source_changed_error(f"{self.spec}/{so_far}")
        return path

    def _list(self, folder: Path, key: str) -> list["os.DirEntry[str]"]:
        """The folder's items, last name first, because the caller pops from the end.

        key: of the folder, `a/b/`; empty for the root
        """
        try:
            self._folders[hash(key_of(key))] = hash(file_identity(folder))
            with os.scandir(folder) as items:
                return sorted(items, key=attrgetter("name"), reverse=True)
        except FileNotFoundError as error:
            if folder is self.root:
                raise SourceError(f"{self.spec} no longer exists") from error
            self._check_removed(key_of(key))
            return []
        except OSError as error:
            raise SourceError(f"{key_of(str(folder))} cannot be listed: {error.strerror}") from error

    def _check_removed(self, key: str) -> None:
        """Raise SourceError unless the folders above the item are those that were listed, so that only it is gone."""
        self.check_unchanged()
        try:
            self._folder(key.rstrip("/").rpartition("/")[0])
        except OSError as error:
            raise SourceError(f"{self.spec} cannot be listed: {error.strerror}") from error

    def _entry(self, item: "os.DirEntry[str]", key: str) -> Entry | None:
        """The item's entry; None if it is not a file (a pipe, a link to a folder) or has just been removed."""
        link = item.is_symlink()
        try:
            status = item.stat()
        except OSError as error:
            if isinstance(error, FileNotFoundError) and not link:
                self._check_removed(key)
                return None
            size = mtime_ns = 0  # reading it will raise an error that says why
        else:
            if not stat.S_ISREG(status.st_mode):
                return None
            size, mtime_ns = status.st_size, status.st_mtime_ns
        label = folder_label(key) if self.labels else None
        fetch = (
            partial(read_inside, Path(item.path), self._real_root, full_name(self.name, key))
            if link
            else partial(read_file, item.path, full_name(self.name, key))
        )
        return Entry(self.name, key, size, mtime_ns, label, fetch)

    def path_of(self, key: str) -> Path:
        """The path of a listed key, whose parts may be names that are not UTF-8."""
        path = self.root
        for part in key.split("/"):
            path = join_key(path, part)
        return path


class File:
    """One image file. Its name is its folder's, so that it is the same image as in a source of that folder."""

    whole = False
    labels = False
    portable = True

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.spec = str(path)
        self._path = path
        self._key = key_of(path.name)

    def entries(self) -> Iterator[Entry]:
        """The image; raises SourceError if it is gone."""
        try:
            status = self._path.stat()
        except OSError as error:
            raise SourceError(f"{self.spec} cannot be read: {error.strerror}") from error
        yield Entry(self.name, self._key, status.st_size, status.st_mtime_ns, None, partial(self.read, self._key))

    def read(self, key: str) -> bytes:
        """The image file; raises BadImage for any other key."""
        if key != self._key:
            raise BadImage(full_name(self.name, key), f"no such image in {self.spec}")
        return read_file(self._path, full_name(self.name, key))

    def identify(self) -> Root:
        """The folder's root."""
        return local_root(self._path.parent)

    def check_unchanged(self) -> None:
        """Raise SourceError: one file does not show which other images its folder holds."""
        raise SourceError(f"{self.spec} is one file of its folder")

    def has(self, key: str) -> bool:
        """Whether the key is this file's and the file exists."""
        return key == self._key and self._path.is_file()


def read_inside(path: Path, root: Path, where: str) -> bytes:
    """As `read_file`; raises BadImage also for a link that leads out of the root.

    root: a path without symbolic links
    """
    try:
        real = path.resolve(strict=True)
    except (OSError, ValueError, RuntimeError) as error:  # missing; NUL in the key; links in a circle
        raise BadImage(where, NOWHERE) from error
    if not real.is_relative_to(root):
        raise BadImage(where, f"a link that leads outside {root}; copy the file there or ingest its folder")
    return read_file(real, where)


def join_key(folder: Path, part: str) -> Path:
    """The path of a part of a key in that folder, whether it exists or not."""
    path = folder / path_of(part)
    # older collections did not escape names that look like escaped bytes
    return path if path_of(part) == part or os.path.lexists(path) else folder / part


def classify_file(item: "os.DirEntry[str]") -> Literal["taken", "passed over"] | None:
    """Classify a file by its suffix, or by its first bytes if it has none; None for files that are not images."""
    if is_image(item.name):
        return "taken"
    if is_passed_over(item.name):
        return "passed over"
    if not has_no_suffix(item.name) or not item.is_file(follow_symlinks=False):
        return None
    try:
        with open(item.path, "rb", buffering=0, opener=_open_regular) as file:
            return sniff(file.read(HEAD_BYTES))
    except OSError:
        return None


def read_file(path: str | Path, where: str) -> bytes:
    """The content of a regular file; raises BadImage if it has vanished, cannot be read or is too large."""
    try:
        with open(path, "rb", opener=_open_regular) as file:
            return read_bounded(file, where)
    except OSError as error:
        raise BadImage(where, f"cannot be read: {error.strerror}") from error
    except ValueError as error:  # a path with NUL in it
        raise BadImage(where, f"cannot be read: {error}") from error


def _open_regular(path: str, flags: int) -> int:
    """Open without blocking: opening a pipe that has no writer would wait forever."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
