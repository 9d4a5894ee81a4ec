"""Decide whether a source is the one that a collection knows by its name, or another source of the same name.

Names are short and repeat, as those of 2023/DCIM and 2024/DCIM, or of one path on two hosts (docs/decisions/0020).
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from retrieval.errors import BadImage, UsageError
from retrieval.ingest.payload import match_source
from retrieval.schema.records import CollectionMeta, Point, Root
from retrieval.sources import Source
from retrieval.sources.base import is_image
from retrieval.store.base import Store
from retrieval.util.wording import count_of

SAMPLE = 32
"""Stored images that are read again if a source has moved: the first by id. Ids are hashes, so the sample is random."""


def check_source_identity(store: Store, collection: str, sources: Sequence[Source]) -> None:
    """Raise UsageError for a source whose name belongs to another source of the collection."""
    meta = store.metadata(collection)
    for source in sources:
        was, now = find_root(meta, source.name), source.identify()
        if was is None or is_same(was, now):
            continue
        points = next(store.scroll(collection, match_source(source.name), page=SAMPLE), [])
        if why := explain_difference(was, now, source, points) if points else "":
            raise UsageError(
                f"{source.name} is {format_root(was)} in {collection}, but {format_root(now)} is another source:"
                f" {why}; nothing was changed",
                hint=f"give it a name of its own: retrieval ingest {source.spec} --name NAME; or remove the"
                f" stored one: retrieval forget {source.name}",
            )


def find_root(meta: CollectionMeta, name: str) -> Root | None:
    """Where the collection last saw the source; older versions recorded no host and inode."""
    if name in meta.roots or name not in meta.sources:
        return meta.roots.get(name)
    spec = meta.sources[name]
    return Root(str(Path(spec).parent) if is_image(spec) and "://" not in spec else spec.rstrip("/"))


def is_same(was: Root, now: Root) -> bool:
    """Whether path, host and inode agree; a host that was not recorded is ignored.

    >>> is_same(Root("/a", "host", "1:2"), Root("/a", "host", "1:2")), is_same(Root("/a"), Root("/a", "host", "1:2"))
    (True, True)
    """
    return was.path == now.path and (not was.host or (was.host, was.inode) == (now.host, now.inode))


def explain_difference(was: Root, now: Root, source: Source, points: Sequence[Point]) -> str:
    """Why it is another source; empty if it is the same one, also after it was moved, copied or mounted again.

    At another path or host, most of the sampled images must have the same content. At the same path of the same host,
    as after mounting a disk again, images may be gone, but those with other content must not outnumber the unchanged.
    """
    same, other = count_same(source, points)
    at_home = was.path == now.path and was.host in ("", now.host)
    if other <= same if at_home else 2 * same > len(points):
        return ""
    return f"of {count_of(len(points), 'stored image')}, {same} are the same there and {other} have other content"


def count_same(source: Source, points: Sequence[Point]) -> tuple[int, int]:
    """How many of the images the source has with the same content, and how many with other content.

    Comparing sizes is not enough: IMG_0001.BMP has the same size on every memory card.
    """
    same = other = 0
    for point in sorted(points, key=lambda point: str(point.payload["path"])):
        try:
            data = source.read(str(point.payload["path"]))
        except BadImage:
            continue
        if hashlib.sha256(data).hexdigest() == point.payload["sha256"]:
            same += 1
        else:
            other += 1
    return same, other


def format_root(root: Root) -> str:
    """A root as messages show it."""
    return f"{root.path} on {root.host}" if root.host else root.path
