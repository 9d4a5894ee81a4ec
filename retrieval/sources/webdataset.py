"""WebDataset shards: tars in which the files that describe an image are beside it.

A sample is a run of members with the same path up to the first dot of the file name, as the library `webdataset` groups
them: `a/07.jpg`, `a/07.cls` (the label), `a/07.txt` (the caption), `a/07.json` (an object of fields).
"""

import itertools
import json
import re
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from retrieval.schema.records import Payload
from retrieval.schema.user_fields import take_fields
from retrieval.sources.members import Member

LARGEST = 2**18
"""Bytes of a file beside an image that is read; larger ones are left out."""
SPOOL_BYTES = 2**23
"""Bytes of descriptions in memory; beyond that, they are in a temporary file."""
LABEL, CAPTION, FIELDS = "cls", "txt", "json"
_NAME = re.compile(r"((?:.*/|)[^./]+)\.([^/]*)", re.DOTALL)


def is_description(path: str, size: int) -> bool:
    """Whether a member with that path and size may describe an image."""
    return split_name(path)[1] in (LABEL, CAPTION, FIELDS) and size <= LARGEST


def split_name(path: str) -> tuple[str, str]:
    """The sample that a member belongs to, and its suffix.

    >>> split_name("a.b/07.left.PNG"), split_name("a.b/readme")
    (('a.b/07', 'left.png'), ('a.b/readme', ''))
    """
    match = _NAME.fullmatch(path)
    return (match[1], match[2].lower()) if match else (path, "")


def split_samples(members: Iterable[Member]) -> Iterator[Iterator[Member]]:
    """The members of each sample, in the archive's order."""
    return (run for _, run in itertools.groupby(members, lambda member: split_name(member.path)[0]))


def describe_sample(files: Mapping[str, bytes]) -> Payload:
    """The fields of a sample's images: those in its JSON, `caption` and `label`. What is malformed is left out.

    files: suffix → content
    """
    values: dict[str, Any] = {}
    try:
        data = json.loads(files.get(FIELDS, b"{}"))
        values |= data if isinstance(data, dict) else {}
    except (ValueError, RecursionError):
        pass
    for name, suffix in (("caption", CAPTION), ("label", LABEL)):
        try:
            text = files.get(suffix, b"").decode().strip()
        except UnicodeDecodeError:
            continue
        values = {name: text, **{key: value for key, value in values.items() if key != name}} if text else values
    return take_fields(values)


class Descriptions:
    """The fields of each image, in memory up to SPOOL_BYTES; thread-safe."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[int, int]] = {}
        self._turn = threading.Lock()
        self._file = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115 - as long as this object
        weakref.finalize(self, self._file.close)

    def set(self, key: str, fields: Payload) -> None:
        """Set the fields of an image, in place of earlier ones."""
        self._places.pop(key, None)
        if fields:
            data = json.dumps(fields).encode()
            with self._turn:
                self._places[key] = (self._file.seek(0, 2), len(data))
                self._file.write(data)

    def get(self, key: str) -> Payload:
        """The fields of an image; empty for none."""
        if key not in self._places:
            return {}
        at, size = self._places[key]
        with self._turn:
            self._file.seek(at)
            fields: Payload = json.loads(self._file.read(size))
        return fields
