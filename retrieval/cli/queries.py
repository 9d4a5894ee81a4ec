"""Reads the queries of a command line: files, sources, stdin, lists, stored images."""

import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from retrieval.cli.options import open_sources
from retrieval.errors import UsageError

if TYPE_CHECKING:
    from retrieval.config import Settings
    from retrieval.search.query import Query, Stored

STDIN = "-"
LONGEST = 2**16
"""Maximum length of a line in a list, in bytes."""


def all_queries(
    images: list[str], list_: Path | None, settings: "Settings", *, stored: bool
) -> "Iterator[Query | Stored]":
    """Yield the queries of the arguments, then those of the list; their names are what is printed."""
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
    for line in read_lines(list_) if list_ else ():
        yield Stored(line) if stored else file_query(line)


def read_stdin() -> bytes:
    """Read one image; one byte more than allowed, so that a larger one is recognised."""
    from retrieval.images.formats import MAX_BYTES

    return sys.stdin.buffer.read(MAX_BYTES + 1)


def read_lines(file: Path) -> Iterator[str]:
    """The lines of a file or of stdin, as they arrive; blank lines are skipped. Raises UsageError."""
    try:
        with sys.stdin.buffer if str(file) == STDIN else file.open("rb") as text:
            for number, line in enumerate(iter(partial(text.readline, LONGEST + 1), b""), start=1):
                if len(line) > LONGEST:
                    raise UsageError(
                        f"{file}: line {number:,} is longer than {LONGEST:,} bytes",
                        option="list",
                        hint="give a text file with one path per line",
                    )
                if name := os.fsdecode(line.rstrip(b"\r\n")):
                    yield name
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}", option="list") from error


def file_query(path: str) -> "Query":
    """The query for a file in a list; a missing file is refused when it is read."""
    from retrieval.search.query import Query
    from retrieval.sources.folder import read_file

    return Query.of(path, partial(read_file, path, path))


def example_query(name: str) -> "Query | Stored":
    """An example image: the file of that name if there is one, otherwise a stored image."""
    from retrieval.search.query import Stored

    return file_query(name) if Path(name).is_file() else Stored(name)
