"""Move duplicates into a folder. Each move is first recorded in a file, so that all can be undone."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from retrieval.duplicates.groups import Group, GroupMember
from retrieval.errors import BadImage, UsageError
from retrieval.sources import Source
from retrieval.sources.folder import Folder
from retrieval.util.files import write_error

UNDO = "undo.jsonl"


class Moved(NamedTuple):
    """A file's old and new place. problem: why it was not moved; None if it was."""

    origin: Path
    target: Path
    problem: str | None = None


def set_aside(groups: Iterable[Group], sources: Mapping[str, Source], folder: Path) -> Iterator[Moved]:
    """Move every image but the one to keep into `folder/<source>/<path>`.

    Moves only files of folders on this machine that have not changed since they were ingested.

    groups: of duplicates
    sources: of the collection, by name
    folder: to move the files to

    Yields each file that was moved, or the reason why not. Raises UsageError for a folder inside a source,
    RetrievalError when the undo file cannot be written.
    """
    folder = folder.absolute()
    for source in sources.values():
        if isinstance(source, Folder) and folder.resolve().is_relative_to(source.root.resolve()):
            raise UsageError(
                f"{folder} is inside the source {source.spec}",
                option="apply",
                hint="choose a folder elsewhere",
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / UNDO).open("a", encoding="utf-8") as undo:
            undo.write("\n" * bool(undo.tell()))  # the last line may have been cut short
            for group in groups:
                kept, problem = find_file(group.keep, sources)
                if kept is None:
                    yield Moved(Path(group.keep.name), folder, f"its group is left alone: the one to keep {problem}")
                    continue
                for member in group.others:
                    yield move_file(member, kept, sources, folder, undo)
    except OSError as error:
        raise write_error(folder / UNDO, error) from error


def find_file(member: GroupMember, sources: Mapping[str, Source]) -> tuple[Path | None, str | None]:
    """Where an image's file is, or why it is left alone."""
    source = sources.get(str(member.payload["source"]))
    if not isinstance(source, Folder):
        return None, "is not a file of a folder on this machine"
    try:
        data = source.read(str(member.payload["path"]))
    except BadImage as error:
        return None, error.reason
    if hashlib.sha256(data).hexdigest() != member.payload["sha256"]:
        return None, "has changed since it was ingested"
    return source.path_of(str(member.payload["path"])), None


def move_file(member: GroupMember, kept: Path, sources: Mapping[str, Source], folder: Path, undo: Any) -> Moved:
    """Move one file, after its move has been written to disk in the undo file."""
    origin, problem = find_file(member, sources)
    target = folder / str(member.payload["source"]).replace(":", "-") / str(member.payload["path"])
    if origin is None:
        return Moved(Path(member.name), target, problem)
    if origin.resolve() == kept.resolve():  # a link, or one source inside another
        return Moved(origin, target, "is the same file as the one to keep, by another path")
    if not target.resolve().is_relative_to(folder.resolve()):
        return Moved(origin, target, "would be moved outside the folder")
    if os.path.lexists(target):
        return Moved(origin, target, "a file exists there already")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        undo.write(f"{json.dumps({'from': os.fspath(origin), 'to': os.fspath(target)})}\n")
        undo.flush()
        os.fsync(undo.fileno())
        shutil.move(origin, target)
    except OSError as error:
        return Moved(origin, target, f"cannot be moved: {error.strerror}")
    return Moved(origin, target)


def undo_moves(undo: Path) -> Iterator[Moved]:
    """Undo the moves of an undo file, the last first. A file whose old place is taken is not moved back.

    A line that was cut short, as by a full disk, is ignored, because its move was never made.

    undo: the file

    Yields each file that was moved back, or the reason why not. Raises UsageError for a file that cannot be read or is
    not an undo file.
    """
    try:
        moves = parse_moves(undo.read_text("utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{undo} cannot be read ({error})", option="undo", hint=f"give the {UNDO} that --apply wrote"
        ) from error
    for origin, target in reversed(moves):
        if not os.path.lexists(target):
            continue  # never moved, or put back already
        if os.path.lexists(origin):
            yield Moved(target, origin, "a file exists there already")
            continue
        try:
            origin.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(target, origin)
            with contextlib.suppress(OSError):
                target.parent.rmdir()
            yield Moved(target, origin)
        except OSError as error:
            yield Moved(target, origin, f"cannot be moved: {error.strerror}")


def parse_moves(text: str) -> list[tuple[Path, Path]]:
    """The moves of an undo file. Raises ValueError, KeyError or TypeError for other files."""
    moves = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            moves.append((Path(row["from"]), Path(row["to"])))
    if text.strip() and not moves:
        raise ValueError("it records no move")
    return moves
