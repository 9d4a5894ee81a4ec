"""The hits of one query as programs and notebooks see them, and the kinds of query that programs can pass."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from retrieval.schema.records import Hit
from retrieval.search.query import Query, Stored
from retrieval.search.results import Result
from retrieval.sources.folder import read_file
from retrieval.util.sanitize import escape_unprintable

if TYPE_CHECKING:
    from retrieval.gallery.rows import Row

ImageLike = Any
"""A path, the bytes of an image file, a Pillow image, an array u8[h, w] or u8[h, w, 3], or `Stored`: an image of the
collection."""


class SearchHits(Sequence[Hit]):
    """The hits of one query, nearest first; a notebook shows them with their images."""

    def __init__(self, result: Result, rows: "Callable[[list[Result]], list[Row]]") -> None:
        """rows: turns results into the rows of a gallery."""
        self.result, self._rows = result, rows

    @overload
    def __getitem__(self, place: int) -> Hit: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Hit]: ...

    def __getitem__(self, place: int | slice) -> Hit | Sequence[Hit]:
        return self.result.hits[place]

    def __len__(self) -> int:
        return len(self.result.hits)

    @property
    def note(self) -> str | None:
        """A remark on the hits: that nothing in the collection resembles the query, or why there are no hits."""
        return self.result.note

    @property
    def weak(self) -> str | None:
        """A warning if the last evaluation of the collection found most hits wrong, or a baseline better."""
        return self.result.weak

    def __repr__(self) -> str:
        lines = [f"{hit.distance:.4f}  {hit.name}" for hit in self]
        notes = filter(None, (self.note, self.weak))
        text = [f"{self.result.query.name}: {len(self)} hits", *notes, *lines]
        return "\n".join(map(escape_unprintable, text))

    def _repr_html_(self) -> str:
        """For Jupyter."""
        from retrieval.gallery.page import fragment

        return fragment(self._rows([self.result]))


Found = SearchHits
"""The old name, kept for one release."""


def as_query(image: ImageLike) -> Query | Stored:
    """Turn an `ImageLike` into a query."""
    if isinstance(image, Query | Stored):
        return image
    if isinstance(image, str | os.PathLike):
        path = Path(image).absolute()
        return Query.of(os.fspath(image), partial(read_file, path, os.fspath(image)))
    from retrieval.images.in_memory import as_bytes

    return Query.of("image", lambda: as_bytes(image))
