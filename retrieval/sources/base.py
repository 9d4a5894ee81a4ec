"""What every source offers, and the few rules they share about names, keys and sizes.

Keys come from file names and archive members, later from payloads and URLs: they are never trusted.
"""

import builtins
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import IO, Protocol

from retrieval.errors import BadImage, SourceError, UsageError
from retrieval.images.formats import MAX_BYTES, NOT_TAKEN, SUFFIXES
from retrieval.schema.records import Root, full_name

_NAME_CHARACTERS = r"\w.:-"
_LIKE_A_BYTE = re.compile(r"\\(?=x(?:5c|[89a-f][0-9a-f]))")
_ESCAPED = re.compile(rb"\\x(5c|[89a-f][0-9a-f])")
NAMED = 100
"""Files passed over that are kept by name."""
_NAME = re.compile(rf"[{_NAME_CHARACTERS}]{{1,64}}")


@dataclass(frozen=True, slots=True)
class Entry:
    """One image as its source lists it: nothing of it has been read yet.

    key: path relative to the source's root, POSIX style, always valid UTF-8 · bytes: size as listed, 0 where the
    source does not know before reading · mtime_ns: 0 where the source does not know, so that only the bytes
    themselves can tell a change · in_turn: it lies in one file with the others, which is read from front to back:
    several readers at once would make each other begin again.
    """

    source: str
    key: str
    bytes: int
    mtime_ns: int
    label: str | None
    fetch: Callable[[], builtins.bytes] = field(repr=False, compare=False)
    in_turn: bool = False

    @property
    def name(self) -> str:
        return full_name(self.source, self.key)

    def read(self) -> builtins.bytes:
        """The encoded image; raises BadImage when it has vanished, cannot be read or is over MAX_BYTES."""
        return self.fetch()


@dataclass(slots=True)
class PassedOver:
    """Images of formats that are not taken, as far as a source has listed: how many, and the keys of the first."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    def add(self, key: str) -> None:
        self.count += 1
        if self.count <= NAMED:
            self.first.append(key)


def find_passed_over(source: "Source") -> PassedOver:
    """Of the source's last listing; sources with nothing but images pass over none."""
    found = getattr(source, "passed_over", None)
    return found if isinstance(found, PassedOver) else PassedOver()


class Source(Protocol):
    """A named place that holds images. Reading is safe from several threads at once."""

    name: str
    """Short name; with the key it makes an image's identity."""
    spec: str
    """What opens it again from anywhere: absolute path, URL or data set name."""
    portable: bool
    """Whether another process can read its entries: they carry a path, not the source itself."""
    labels: bool
    """Whether it was opened with `labels`."""
    whole: bool
    """False when what `entries` leaves out may be there all the same (a single file of a folder, a folder over
    HTTP): that an image is not listed then says nothing about it."""

    def entries(self) -> Iterator[Entry]:
        """Every image, in an order that stays the same; hidden files and folders are left out.

        Raises SourceError when there is none, or when a part cannot be listed (which must never look like
        images that are gone).
        """

    def read(self, key: str) -> bytes:
        """The encoded image with that key, never anything outside the root; raises BadImage."""

    def identify(self) -> Root:
        """Where it lies, and what tells it from another of its name."""

    def check_unchanged(self) -> None:
        """Raise SourceError unless it is itself, and whole, as when its last listing began.

        Else what it says of an image means nothing.
        """

    def has(self, key: str) -> bool:
        """Whether the image is there, by a look at that very key; raises SourceError when that cannot be said."""


def default_name(text: str) -> str:
    """A short name made from a file's or folder's name: what a name may not hold becomes `-`."""
    return re.sub(rf"[^{_NAME_CHARACTERS}]+", "-", text).strip("-")[:64] or "images"


def check_source_name(name: str) -> str:
    """The same name; raises UsageError when it is not one."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"name {name!r} for a source: use 1 to 64 letters, digits and . _ : -")
    return name


def key_of(path: str) -> str:
    r"""A relative path as a key, another one for each path: bytes that are not UTF-8 are written `\xff`.

    In a path that holds such text itself, the backslash of it is written `\x5c`, or two files would have one key.
    """
    if "\\x" in path:
        path = _LIKE_A_BYTE.sub(r"\\x5c", path)
    try:
        path.encode()
    except UnicodeEncodeError:
        return os.fsencode(path).decode("utf-8", "backslashreplace")
    return path


def path_of(key: str) -> str:
    """The path that `key_of` made the key of."""
    if "\\x" not in key:
        return key
    return os.fsdecode(_ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), key.encode()))


def is_image(name: str) -> bool:
    """By its suffix; whether it really is one, decoding will tell."""
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 - Path is ten times slower here


def is_passed_over(name: str) -> bool:
    """By its suffix: an image of a format that is not taken."""
    return os.path.splitext(name)[1].lower() in NOT_TAKEN  # noqa: PTH122 - as above


def has_no_suffix(name: str) -> bool:
    """True for a name that says nothing of what is in the file."""
    return not os.path.splitext(name)[1]  # noqa: PTH122 - as above


def is_listable(key: str) -> bool:
    """True for a key that a source could have listed: relative, no `..`, not hidden, an image's suffix."""
    return is_image(key) and not is_hidden(key)


def is_hidden(key: str) -> bool:
    """True for a key with a hidden or an empty part, `..` among them: no source has it."""
    return any(not part or part.startswith(".") for part in key.split("/"))


def folder_label(key: str) -> str | None:
    """The name of the image's parent folder; None directly in the root."""
    return key.rpartition("/")[0].rpartition("/")[2] or None


def read_bounded(file: IO[bytes], where: str) -> bytes:
    """Everything in the file; raises BadImage for more than MAX_BYTES without taking more memory."""
    data = file.read(MAX_BYTES + 1)
    check_size(len(data), where)
    return data


def check_size(size: int, where: str) -> None:
    """Raise BadImage for more than MAX_BYTES."""
    if size > MAX_BYTES:
        raise BadImage(where, f"larger than {MAX_BYTES:,} bytes; scale it down")


def no_images_error(spec: str, files: int) -> SourceError:
    """The error for a source in which `files` files were seen and no image."""
    if not files:
        return SourceError(f"{spec} holds no files (hidden ones do not count)")
    kinds = ", ".join(sorted(SUFFIXES))
    return SourceError(f"{spec}: {files:,} file{'s'[: files > 1]}, none of them an image ({kinds})")
