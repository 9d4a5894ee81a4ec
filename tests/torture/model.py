"""What must be stored: plain rows for each alias, and how a job changes them."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tests.torture.world import File, Stat, World, sha256_of

Name = tuple[str, str]
"""Source and key of an image."""
Fields = Mapping[str, str]
"""The user's fields of an image: its label and others."""


@dataclass(frozen=True)
class Row:
    """What must be stored of an image."""

    number: int
    size: int
    stat: Stat
    stale: bool = False
    fields: Fields = field(default_factory=dict)
    url: str | None = None

    @property
    def sha256(self) -> str:
        return sha256_of(self.number, self.size)


@dataclass
class Alias:
    """What must be behind an alias.

    model: (seed, dim)
    refused: image → the stat with which its content was refused
    unread: images that could not be read
    sources: recorded source → where it was when it was last ingested: its path, and how often its folder was replaced
    labelled: sources whose folders are labels
    url: the public URL
    left: fields of images in collections that a rollback has left
    live: the collection, as it was last seen
    """

    model: tuple[int, int] | None = None
    rows: dict[Name, Row] = field(default_factory=dict)
    refused: dict[Name, Stat] = field(default_factory=dict)
    unread: set[Name] = field(default_factory=set)
    sources: dict[str, tuple[str, int]] = field(default_factory=dict)
    labelled: set[str] = field(default_factory=set)
    url: str | None = None
    left: dict[Name, Fields] = field(default_factory=dict)
    live: str | None = None

    @property
    def ledger(self) -> set[Name]:
        """Images that the ledger must name."""
        return {*self.refused, *self.unread}


@dataclass(frozen=True)
class Ingest:
    """The options of an ingest that change what is stored."""

    prune: bool = False
    force: bool = False
    retry: bool = False
    labels: bool = False
    url: str | None = None
    metadata: Mapping[Name, Fields] = field(default_factory=dict)


def place_of(world: World, source: str) -> tuple[str, int]:
    return str(world.places[source]), world.moves[source]


def ingest(alias: Alias, world: World, source: str, how: Ingest) -> set[Name]:
    """Change the alias as an ingest of the source does; returns the images that it must refuse."""
    alias.sources[source] = place_of(world, source)
    alias.url = how.url or alias.url
    alias.labelled |= {source} if how.labels else set()
    files = {(source, key): file for key, file in world.files[source].items()}
    damaged: set[Name] = set()
    for name, file in files.items():
        row = alias.rows.get(name)
        given = {**(label(name) if how.labels else {}), **how.metadata.get(name, {})}
        if row and is_good(alias, name, file, row) and not how.force:
            fields = {**row.fields, **given}
            alias.rows[name] = replace(row, stale=False, fields=fields, url=alias.url or row.url)
            settle(alias, name)
        elif is_refused(alias, name, file) and not how.retry:
            damaged.add(name)
        elif file.number <= 0:
            note_refused(alias, name, file)
            if file.number < 0:
                damaged.add(name)
        else:
            fields = {**(row.fields if row else alias.left.get(name, {})), **given}
            alias.rows[name] = Row(file.number, file.size, file.stat, False, fields, alias.url)
            settle(alias, name)
    for name in damaged & alias.rows.keys():
        alias.rows[name] = replace(alias.rows[name], stale=True)
    forget_absent(alias, source, files)
    bad = damaged | (alias.unread & files.keys())
    if how.prune:  # what is gone, and what can no longer be decoded
        for name in [name for name in alias.rows if name[0] == source and (name not in files or name in damaged)]:
            del alias.rows[name]
    return bad


def reindex(before: Alias, world: World, model: tuple[int, int]) -> tuple[Alias, set[Name]]:
    """The alias after a re-index with that model, and the images that it must refuse."""
    after, bad = copy.deepcopy(before), set()
    after.model, after.rows = model, {}
    for source in before.sources:
        after.sources[source] = place_of(world, source)
        files = {(source, key): file for key, file in world.files[source].items()}
        for name, file in files.items():
            row = before.rows.get(name)
            fields = {**(row.fields if row else before.left.get(name, {}))}
            fields |= label(name) if source in before.labelled else {}
            if row and is_good(before, name, file, row) and model == before.model:
                after.rows[name] = replace(row, stale=False, fields=fields, url=before.url or row.url)
                settle(after, name)
            elif is_refused(before, name, file) or file.number <= 0:
                bad.add(name)
                if not is_refused(before, name, file):
                    note_refused(after, name, file)
            else:
                after.rows[name] = Row(file.number, file.size, file.stat, False, fields, before.url)
                settle(after, name)
        forget_absent(after, source, files)
    return after, bad


def forget(alias: Alias, source: str) -> None:
    """Change the alias as forgetting a source does."""
    alias.sources.pop(source, None)
    alias.labelled.discard(source)
    alias.rows = {name: row for name, row in alias.rows.items() if name[0] != source}
    forget_absent(alias, source, {})


def label(name: Name) -> dict[str, str]:
    """The name of the image's folder."""
    folders = name[1].split("/")[:-1]
    return {"label": folders[-1]} if folders else {}


def is_refused(alias: Alias, name: Name, file: File) -> bool:
    """Whether the file was refused for its content, and looks the same."""
    return bool(file.stat[1]) and alias.refused.get(name) == file.stat


def is_good(alias: Alias, name: Name, file: File, row: Row) -> bool:
    """Whether what is stored is taken to be the file, which then is not opened."""
    return bool(file.stat[1]) and row.stat == file.stat and not (row.stale and is_refused(alias, name, file))


def note_refused(alias: Alias, name: Name, file: File) -> None:
    settle(alias, name)
    if file.number < 0:
        alias.refused[name] = file.stat
    else:
        alias.unread.add(name)


def settle(alias: Alias, name: Name) -> None:
    """The image is refused no longer."""
    alias.refused.pop(name, None)
    alias.unread.discard(name)


def forget_absent(alias: Alias, source: str, files: Mapping[Name, File]) -> None:
    """Images that are no longer listed are no longer refused."""
    for name in [name for name in alias.ledger if name[0] == source and name not in files]:
        settle(alias, name)


def is_foreign(alias: Alias, world: World, source: str) -> bool | None:
    """Whether the source looks like another one of the same name; None where that depends on a sample."""
    was, now = alias.sources.get(source), place_of(world, source)
    stored = {name: row for name, row in alias.rows.items() if name[0] == source}
    if was is None or was == now or not stored:
        return False
    files = [(world.files[source].get(name[1]), row) for name, row in stored.items()]
    same = sum(file is not None and file.sha256 == row.sha256 for file, row in files)
    other = sum(file is not None and file.number != 0 and file.sha256 != row.sha256 for file, row in files)
    if len(stored) > 32:
        return None
    return other > same if was[0] == now[0] else 2 * same <= len(stored)
