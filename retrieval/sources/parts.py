"""Several sources as one: the splits of a data set, the shards of a folder."""

import dataclasses
from collections.abc import Iterator, Mapping

from retrieval.errors import BadImage
from retrieval.schema.records import Root, full_name
from retrieval.sources.base import Entry, Source
from retrieval.sources.presence import Snapshot


class Parts:
    """The images of all parts, in their order; an image's key begins with the name of its part."""

    whole = True
    portable = False

    def __init__(self, name: str, root: Root, parts: Mapping[str, Source], snapshot: Snapshot, *, labels: bool) -> None:
        """Take the parts, whose own names must be `name/part`, so that messages name an image completely.

        snapshot: of what tells which parts there are
        """
        self.name = name
        self.spec = root.path
        self.labels = labels
        self._root, self._parts, self._snapshot = root, parts, snapshot

    def entries(self) -> Iterator[Entry]:
        """Every image; raises SourceError if a part has none."""
        for prefix, part in self._parts.items():
            for entry in part.entries():
                yield dataclasses.replace(entry, source=self.name, key=f"{prefix}/{entry.key}")

    def read(self, key: str) -> bytes:
        """The image with that key; raises BadImage."""
        prefix, _, rest = key.partition("/")
        if prefix not in self._parts:
            raise BadImage(full_name(self.name, key), f"no such image in {self.spec}")
        return self._parts[prefix].read(rest)

    def identify(self) -> Root:
        """The folder's path."""
        return self._root

    def check_unchanged(self) -> None:
        """Raise SourceError if a part was added, removed, replaced or changed."""
        self._snapshot.check()
        for part in self._parts.values():
            part.check_unchanged()

    def has(self, key: str) -> bool:
        """Whether the part has the image."""
        prefix, _, rest = key.partition("/")
        return prefix in self._parts and self._parts[prefix].has(rest)
