"""What a command line means by a picture to search with."""

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.cli.common import open_sources
from retrieval.errors import UsageError

if TYPE_CHECKING:
    from retrieval.config import Settings
    from retrieval.search.query import Query, Stored

STDIN = "-"
LONGEST = 2**16
"""Bytes of a line in a list."""


def all_queries(
    images: list[str], list_: Path | None, settings: "Settings", *, stored: bool
) -> "Iterator[Query | Stored]":
    """The pictures that the arguments mean, each with the name it is printed under, one after the other."""
    from retrieval.search.query import Query, Stored
    from retrieval.sources.folder import File

    for spec in images:
        if stored:
            yield Stored(spec)
        elif spec == STDIN:
            yield Query.of(STDIN, partial(bytes, read_stdin()))
        else:
            (source,) = open_sources([spec], settings)
            single = isinstance(source, File)
            for entry in source.entries():
                yield Query(spec if single else f"{spec.rstrip('/')}/{entry.key}", entry)
    for line in lines(list_) if list_ else ():
        yield Stored(line) if stored else file_query(line)


def read_stdin() -> bytes:
    """One image; a little more than may be read of it, so that one which is too large is told of."""
    from retrieval.images.formats import MAX_BYTES

    return sys.stdin.buffer.read(MAX_BYTES + 1)


def lines(file: Path) -> Iterator[str]:
    """The lines of a file or of stdin, as they come; blank ones are passed over. Raises UsageError."""
    try:
        with sys.stdin.buffer if str(file) == STDIN else file.open("rb") as text:
            for number, line in enumerate(iter(partial(text.readline, LONGEST + 1), b""), start=1):
                if len(line) > LONGEST:
                    raise UsageError(f"--list {file}: line {number:,} is longer than {LONGEST:,} bytes; is it a list?")
                if said := os.fsdecode(line.rstrip(b"\r\n")):
                    yield said
    except OSError as error:
        raise UsageError(f"--list {file}: cannot be read: {error.strerror}") from error


def file_query(path: str) -> "Query":
    """A file that a list names; what is not there is refused when it is read."""
    from retrieval.search.query import Query
    from retrieval.sources.folder import read_file

    return Query.of(path, partial(read_file, path, path))


def example(name: str) -> "Query | Stored":
    """A picture to be like or unlike: a file where there is one of that name, else one of the collection."""
    from retrieval.search.query import Stored

    return file_query(name) if Path(name).is_file() else Stored(name)
