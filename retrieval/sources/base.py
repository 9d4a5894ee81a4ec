"""The interface of all sources, and their common rules for names, keys and sizes.

Keys come from file names, archive members, payloads and URLs, and are never trusted.
"""

import builtins
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Protocol

from retrieval.errors import BadImage, SourceError, UsageError
from retrieval.images.formats import MAX_BYTES, NOT_TAKEN, SUFFIXES
from retrieval.schema.records import Payload, Root, full_name
from retrieval.util.wording import count_of

_NAME_CHARACTERS = r"\w.:-"
_LIKE_A_BYTE = re.compile(r"\\(?=x(?:5c|[89a-f][0-9a-f]))")
_ESCAPED = re.compile(rb"\\x(5c|[89a-f][0-9a-f])")
NAMED = 100
"""Number of unsupported images whose keys are kept."""
_NAME = re.compile(rf"[{_NAME_CHARACTERS}]{{1,64}}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One image as its source lists it, not yet read.

    key: path relative to the source's root, POSIX style, always valid UTF-8
    bytes: size as listed; 0 if unknown before reading
    mtime_ns: time of the last change; 0 if unknown, so that only the content shows a change
    in_turn: the images are in one file that is read from front to back; concurrent readers would make each other start
        again
    fields: what the source says of the image, such as a caption, for its payload; None for nothing
    """

    source: str
    key: str
    bytes: int
    mtime_ns: int
    label: str | None
    fetch: Callable[[], builtins.bytes] = field(repr=False, compare=False)
    in_turn: bool = False
    fields: Payload | None = field(default=None, repr=False, compare=False)

    @property
    def name(self) -> str:
        return full_name(self.source, self.key)

    def read(self) -> builtins.bytes:
        """The image file; raises BadImage if it has vanished, cannot be read or is larger than MAX_BYTES."""
        return self.fetch()


@dataclass(slots=True)
class PassedOver:
    """Images in unsupported formats that a source has listed so far: their number, and the keys of the first."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, key: str) -> None:
        self.count += 1
        if self.count <= NAMED:
            self.first.append(key)


def find_passed_over(source: "Source") -> PassedOver:
    """The unsupported images in the source's last listing; none for sources that cannot hold any."""
    found = getattr(source, "passed_over", None)
    return found if isinstance(found, PassedOver) else PassedOver()


class Source(Protocol):
    """A named collection of images. Reading is thread-safe."""

    name: str
    """Short name; name and key together identify an image."""
    spec: str
    """What reopens it from anywhere: absolute path, URL or data set name."""
    portable: bool
    """Whether another process can read its entries: they carry a path, not the source itself."""
    labels: bool
    """Whether it was opened with `labels`."""
    whole: bool
    """Whether `entries` lists everything. If not (a single file of a folder, a folder over HTTP), a missing entry does
    not mean that the image is gone."""

    def entries(self) -> Iterator[Entry]:
        """Every image, in a stable order, without hidden files and folders.

        Raises SourceError if there is none, or if a part cannot be listed, so that it never looks like images that are
        gone.
        """

    def read(self, key: str) -> bytes:
        """The image file with that key; raises BadImage, also for a key outside the root."""

    def identify(self) -> Root:
        """Where the source is, and what tells it from another source of the same name."""

    def check_unchanged(self) -> None:
        """Raise SourceError unless the source is the same, and complete, as when its last listing began.

        Otherwise the answers of `has` mean nothing.
        """

    def has(self, key: str) -> bool:
        """Whether the image exists, by looking up the key itself; raises SourceError if that cannot be found out."""


def default_name(text: str) -> str:
    """A short name made from a file's or folder's name: characters that are not allowed become `-`."""
    return re.sub(rf"[^{_NAME_CHARACTERS}]+", "-", text).strip("-")[:64] or "images"


def check_source_name(name: str) -> str:
    """Return the name; raises UsageError if it is not a valid name of a source."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be the name of a source", option="name", hint="use 1 to 64 letters, digits and . _ : -"
        )
    return name


def key_of(path: str) -> str:
    r"""A relative path as a key: bytes that are not UTF-8 are written `\xff`.

    If the path itself holds such text, its backslash is written `\x5c`, so that no two paths have the same key.
    """
    if "\\x" in path:
        path = _LIKE_A_BYTE.sub(r"\\x5c", path)
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    return path


def path_of(key: str) -> str:
    """The path of a key: the inverse of `key_of`."""
    if "\\x" not in key:
        return key
    return os.fsdecode(_ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), key.encode()))


def is_image(name: str) -> bool:
    """Whether the name has an image's suffix; only decoding shows whether the file is an image.

    >>> [name for name in ("a.PNG", ".png", "a/.png", "a/..png", "a.b/c.png", "a.png/c") if is_image(name)]
    ['a.PNG', 'a.b/c.png']
    """
    stem, dot, suffix = name.rpartition(".")  # a third of the time of `os.path.splitext`, for each file listed
    return dot + suffix.lower() in SUFFIXES and stem.rstrip(".")[-1:] not in ("", "/")


def is_passed_over(name: str) -> bool:
    """Whether the name has the suffix of an unsupported image format."""
    return os.path.splitext(name)[1].lower() in NOT_TAKEN  # noqa: PTH122 - Path is ten times slower


def has_no_suffix(name: str) -> bool:
    """Whether the name has no suffix, so that only the content shows the format."""
    return not os.path.splitext(name)[1]  # noqa: PTH122 - as above


def is_listable(key: str) -> bool:
    """Whether a source could have listed the key: relative, no `..`, not hidden, an image's suffix."""
    return is_image(key) and not is_hidden(key)


def is_hidden(key: str) -> bool:
    """Whether a part of the key is hidden, empty or `..`: no source has such keys."""
    return any(not part or part.startswith(".") for part in key.split("/"))


def folder_label(key: str) -> str | None:
    """The name of the image's parent folder; None for an image in the root."""
    return key.rpartition("/")[0].rpartition("/")[2] or None


def read_bounded(file: IO[bytes], where: str) -> bytes:
    """The file's content; raises BadImage, without reading on, if it is larger than MAX_BYTES."""
    data = file.read(MAX_BYTES + 1)
    check_size(len(data), where)
    return data


def check_size(size: int, where: str) -> None:
    """Raise BadImage for a size over MAX_BYTES."""
    if size > MAX_BYTES:
        raise BadImage(where, f"larger than {MAX_BYTES:,} bytes; scale it down")


def no_images_error(spec: str, files: int) -> SourceError:
    """The error for a source that has `files` files but no image."""
    if not files:
        return SourceError(f"{spec} holds no files (hidden ones do not count)")
    kinds = ", ".join(sorted(SUFFIXES))
    return SourceError(f"{spec}: {count_of(files, 'file')}, none of them an image ({kinds})")
