"""Duplicates out of the way: files moved into a folder, each move written down first, so that all can be undone."""

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
    """A file's old and new place; `problem` says why it was left where it is."""

    origin: Path
    target: Path
    problem: str | None = None


def set_aside(groups: Iterable[Group], sources: Mapping[str, Source], folder: Path) -> Iterator[Moved]:
    """Move every picture but the one to keep into `folder/<source>/<path>`.

    Only files of folders on this machine that are still what the collection says; the others are left alone, and named.
    Raises UsageError for a folder inside a source, RetrievalError when the undo file cannot be written.
    """
    folder = folder.absolute()
    for source in sources.values():
        if isinstance(source, Folder) and folder.resolve().is_relative_to(source.root.resolve()):
            raise UsageError(
                f"{folder} lies inside the source {source.spec}",
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
                    yield Moved(Path(group.keep.name), folder, f"kept whole: the one to keep {problem}")
                    continue
                for member in group.others:
                    yield move_file(member, kept, sources, folder, undo)
    except OSError as error:
        raise write_error(folder / UNDO, error) from error


def find_file(member: GroupMember, sources: Mapping[str, Source]) -> tuple[Path | None, str | None]:
    """Where a picture's file lies, or why it is not touched."""
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
    """One file; the move is on disk in the undo file before it is made."""
    origin, problem = find_file(member, sources)
    target = folder / str(member.payload["source"]).replace(":", "-") / str(member.payload["path"])
    if origin is None:
        return Moved(Path(member.name), target, problem)
    if origin.resolve() == kept.resolve():  # a link, or sources of which one lies in the other
        return Moved(origin, target, "is the very file to keep, by another path")
    if not target.resolve().is_relative_to(folder.resolve()):
        return Moved(origin, target, "would lead out of the folder")
    if os.path.lexists(target):
        return Moved(origin, target, "something lies there already")
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
    """Undo every move of an undo file, the last first; what is not there any more, or whose place is taken, stays.

    A line that was cut short, as by a full disk, is passed over: its move was never made. Raises UsageError for a file
    that cannot be read or is none.
    """
    try:
        moves = parse_moves(undo.read_text("utf-8"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{undo} cannot be read ({error})", option="undo", hint=f"give the {UNDO} of a quarantine"
        ) from error
    for origin, target in reversed(moves):
        if not os.path.lexists(target):
            continue  # never moved, or put back already
        if os.path.lexists(origin):
            yield Moved(target, origin, "something lies there already")
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
    """The moves of an undo file. Raises ValueError, KeyError or TypeError for what is none."""
    moves = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            row = json.loads(line)
            moves.append((Path(row["from"]), Path(row["to"])))
    if text.strip() and not moves:
        raise ValueError("no move is written there")
    return moves
