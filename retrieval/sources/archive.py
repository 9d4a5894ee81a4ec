"""Zip and tar archives, read in place: nothing is unpacked to disk, so no member can write anywhere.

Members are read with the standard library, from a local file or any URL that fsspec can open. fsspec's own tar file
system sorts the names and goes over all members for each folder; in a compressed tar each step back decompresses from
the start. Here entries come in the archive's own order.
"""

import tarfile
import threading
import weakref
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from lzma import LZMAError
from typing import BinaryIO

from retrieval.errors import BadImage, SourceError
from retrieval.schema.records import Root, full_name
from retrieval.sources.base import Entry, PassedOver, folder_label, is_image, is_passed_over, key_of, no_images_error
from retrieval.sources.members import Contents, Member, Zip
from retrieval.sources.presence import Snapshot
from retrieval.sources.tar import Tar
from retrieval.sources.webdataset import Descriptions, describe_sample, split_name, split_samples

_DAMAGE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, LZMAError, EOFError, OSError, ValueError),
    RuntimeError,  # an encrypted zip member, or one packed in an unknown way
)


class Archive:
    """All images in a zip or tar; the last of several members with the same path counts."""

    whole = True
    portable = False

    def __init__(self, name: str, root: Root, file: BinaryIO, snapshot: Snapshot, *, labels: bool = False) -> None:
        """Read the list of members; raises SourceError for a broken archive.

        file: closed when this object is garbage-collected
        snapshot: taken before the file was opened
        """
        self.name = name
        self.spec = spec = root.path
        self.labels = labels
        self._root, self._snapshot = root, snapshot
        self._lock = threading.Lock()
        self._others: set[str] = set()
        self._images: dict[str, Member] = {}
        self._descriptions = Descriptions()
        self.passed_over = PassedOver()
        close = weakref.finalize(self, file.close)
        try:
            is_zip = file.read(2) == b"PK"
            file.seek(0)
            self._contents: Contents = Zip(file) if is_zip else Tar(file)
            for sample in split_samples(self._contents.members()):
                self._add_sample(sample)
        except _DAMAGE as error:
            close()
            raise SourceError(
                f"{spec} cannot be read as an archive: {_reason(error)}", hint="check that the file is complete"
            ) from error

    def entries(self) -> Iterator[Entry]:
        """Every image, in the archive's order; raises SourceError if there is none."""
        for key, member in self._images.items():
            fields = self._descriptions.get(key)
            label = fields.pop("label", None) or (folder_label(key) if self.labels else None)
            yield Entry(
                *(self.name, key, member.size, member.mtime_ns, label, partial(self.read, key)),
                in_turn=True,
                fields=fields or None,
            )
        if not self._images:
            raise no_images_error(self.spec, len(self._others))

    def read(self, key: str) -> bytes:
        """The image with that key; raises BadImage."""
        where = full_name(self.name, key)
        member = self._images.get(key)
        if member is None:
            raise BadImage(where, f"no such image in {self.spec}")
        if member.refusal:
            raise BadImage(where, member.refusal)
        try:
            with self._lock:  # one file, one position
                return self._contents.read(member, where)
        except _DAMAGE as error:
            raise BadImage(where, f"cannot be read from the archive: {_reason(error)}") from error

    def identify(self) -> Root:
        """The file's path or URL."""
        return self._root

    def check_unchanged(self) -> None:
        """Raise SourceError if the file was replaced or changed, or has no end marker and may be truncated."""
        self._snapshot.check()
        if not self._contents.ended:
            raise SourceError(f"{self.spec} does not end with a block of zeros, as a tar does: it may be truncated")

    def has(self, key: str) -> bool:
        """Whether the archive has a member of that name."""
        return key in self._images or key in self._others

    def _add_sample(self, members: Iterable[Member]) -> None:
        """Add members that belong together: what describes an image is kept with it."""
        keys, files = [], {}
        for member in members:
            if member.content is not None:
                files[split_name(member.path)[1]] = member.content
            if key := self._add(member):
                keys.append(key)
        fields = describe_sample(files) if keys else {}
        for key in keys:
            self._descriptions.set(key, fields)

    def _add(self, member: Member) -> str | None:
        """Add a member; returns its key if it is an image."""
        parts = [part for part in member.path.split("/") if part not in ("", ".")]
        if member.path.startswith("/") or ".." in parts:
            key = key_of(member.path)
            member = Member(key, 0, 0, refusal="a path that leads out of the archive; pack it again")
        else:
            key = key_of("/".join(parts))
            if any(part.startswith(".") for part in parts):
                return None
        if is_image(key):
            self._images[key] = member
            return key
        self._others.add(key)
        if is_passed_over(key):
            self.passed_over.add(key)
        return None


def _reason(error: Exception) -> str:
    """The first line of the message: tarfile's has one line for each compression that it tried."""
    return str(error).partition("\n")[0].rstrip(":") or type(error).__name__
