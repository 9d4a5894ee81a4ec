"""The output formats of results: for people, programs, spreadsheets and xargs."""

import contextlib
import csv
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from retrieval.errors import UsageError
from retrieval.util.files import to_json_text

if TYPE_CHECKING:
    from retrieval.api import Index
    from retrieval.duplicates.groups import Group, GroupMember
    from retrieval.schema.records import Hit
    from retrieval.search.results import Result

Output = Literal["table", "json", "jsonl", "csv", "paths0"]
"""A table, one JSON array, one JSON object per line, rows of hits, or the hits' files, each followed by a NUL."""

COLUMNS = ("query", "rank", "distance", "percentile", "id", "source", "path", "label", "copies")


def choose_output(output: Output | None, *, as_json: bool) -> Output:
    """The format that `--output` and `--json` ask for; raises UsageError when they contradict each other."""
    if as_json and output not in (None, "jsonl"):
        raise UsageError(f"--json means --output jsonl, so it cannot be combined with --output {output}")
    return "jsonl" if as_json else output or "table"


@contextlib.contextmanager
def result_printer(
    output: Output, index: "Index", *, show_images: bool = False
) -> "Iterator[Callable[[Result], None]]":
    """A function that prints one result after the other, while the block runs.

    show_images: on a terminal, the table is followed by the images
    """
    if output == "table":
        from retrieval.cli.console import is_terminal, stdout
        from retrieval.cli.render.results import print_images, print_lines, print_results

        def show(result: "Result") -> None:
            print_results([result], stdout())
            if show_images and result.hits:
                print_images(index.rows([result]), stdout())

        yield show if is_terminal() else print_lines
    elif output == "csv":
        rows = csv.writer(sys.stdout, lineterminator="\n")
        rows.writerow(COLUMNS)
        yield lambda result: rows.writerows(map(list, hit_rows(result)))
    elif output == "paths0":
        file_of = file_namer(index)
        yield lambda result: write0(list(map(file_of, result.hits)))
    else:
        with json_printer(array=output == "json") as write:
            yield lambda result: write(result.to_json())


@contextlib.contextmanager
def json_printer(*, array: bool) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A function that prints JSON objects while the block runs: one per line, or all as one array."""
    count = 0

    def write(content: dict[str, Any]) -> None:
        nonlocal count
        before = ("[" if count == 0 else ",\n") if array else ""
        sys.stdout.write(f"{before}{to_json_text(content, ensure_ascii=False)}{'' if array else chr(10)}")
        count += 1

    yield write
    if array:
        sys.stdout.write("]\n" if count else "[]\n")


@contextlib.contextmanager
def groups_printer(output: Output, index: "Index") -> "Iterator[Callable[[Group], None]]":
    """A function that prints groups of duplicates; CSV and `paths0` name the images that can be removed."""
    if output == "table":
        yield print_group
    elif output == "csv":
        rows = csv.writer(sys.stdout, lineterminator="\n")
        rows.writerow(("keep", "reason", "duplicate", "id", "distance", "exact"))
        yield lambda group: rows.writerows(
            [group.keep.name, group.reason, other.name, other.id, other.distance, other.exact] for other in group.others
        )
    elif output == "paths0":
        file_of = file_namer(index)
        yield lambda group: write0([file_of(other) for other in group.others])
    else:
        with json_printer(array=output == "json") as write:
            yield lambda group: write(group.to_json())


def print_group(group: "Group") -> None:
    """Print the image to keep and why, and its duplicates below it."""
    from retrieval.cli.console import echo

    echo(f"keep  {group.keep.name}  ({group.reason})")
    for other in group.others:
        exact = "  exact copy" if other.exact else ""
        echo(f"      {other.name}  {other.distance:.4f}{exact}")


def hit_rows(result: "Result") -> Iterator[tuple[Any, ...]]:
    """A row for each hit, by COLUMNS."""
    for rank, hit in enumerate(result.hits, start=1):
        where = (hit.id, hit.source, hit.path, hit.label)
        yield result.query.name, rank, hit.distance, hit.percentile, *where, len(hit.copies)


def file_namer(index: "Index") -> "Callable[[Hit | GroupMember], str]":
    """A function that names an image's file: its path on this machine, or `source/path`."""
    from retrieval.sources.folder import Folder

    folders = {name: source for name, source in index.sources().items() if isinstance(source, Folder)}

    def file_of(image: "Hit | GroupMember") -> str:
        folder = folders.get(str(image.payload["source"]))
        return os.fspath(folder.path_of(str(image.payload["path"]))) if folder else image.name

    return file_of


def write0(names: list[str]) -> None:
    """Write each name and a NUL, as the file system's bytes."""
    sys.stdout.flush()
    sys.stdout.buffer.write(b"".join(os.fsencode(name) + b"\0" for name in names))
    sys.stdout.buffer.flush()
