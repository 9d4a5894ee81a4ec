"""One picture's hits as programs and notebooks hold them, and what programs may ask with."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from retrieval.outside import visible
from retrieval.records import Hit
from retrieval.search.query import Query, Stored
from retrieval.search.results import Result
from retrieval.sources.folder import read_file

if TYPE_CHECKING:
    from retrieval.gallery import Row

Picture = Any
"""A path, the bytes of an image file, a Pillow image, or an array u8[h, w] or u8[h, w, 3]; or `Stored`, one that the
collection holds."""


class Found(Sequence[Hit]):
    """The hits of one picture, nearest first; a notebook shows them with their pictures."""

    def __init__(self, result: Result, rows: "Callable[[list[Result]], list[Row]]") -> None:
        """`rows` makes of results what galleries show."""
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
        """What there is to say of the hits: that nothing here looks like the picture, or why there are none."""
        return self.result.note

    def __repr__(self) -> str:
        lines = [f"{hit.distance:.4f}  {hit.name}" for hit in self]
        note = [self.note] if self.note else []
        said = [f"{self.result.query.name}: {len(self)} hits", *note, *lines]
        return "\n".join(map(visible, said))

    def _repr_html_(self) -> str:
        """For Jupyter."""
        from retrieval.gallery.fragment import fragment

        return fragment(self._rows([self.result]))


def as_query(picture: Picture) -> Query | Stored:
    """A picture in any of the ways that `Picture` names, as a query."""
    if isinstance(picture, Query | Stored):
        return picture
    if isinstance(picture, str | os.PathLike):
        path = Path(picture).absolute()
        return Query.of(os.fspath(picture), partial(read_file, path, os.fspath(picture)))
    from retrieval.images.given import as_bytes

    return Query.of("picture", lambda: as_bytes(picture))
