"""What a gallery shows, the same for the page and the PNG: rows of a query and its hits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import UInt8
from numpy import ndarray

from retrieval.errors import BadImage
from retrieval.images.decode import probe, thumbnail

TITLE = "Nearest pictures"
EXPLANATION = (
    "Nearest first. Distance is Euclidean, between the codes of two pictures: smaller is nearer. p3: as near as the"
    " closest 3% of neighbours here."
)
NOTHING = "nothing else in the collection"

Read = Callable[[], bytes]
"""The bytes of a picture's file; raises BadImage. Called when the picture is drawn, so that few are in memory."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One hit; `read` is None where the picture is out of reach; `copies` more pictures have its very content.

    stale: its file is no image any more.
    """

    read: Read | None
    distance: float
    source: str
    path: str
    label: str | None = None
    percentile: float | None = None
    copies: int = 0
    stale: bool = False

    @property
    def nearness(self) -> str:
        """Distance, and where it lies among the collection's own."""
        return f"{self.distance:.4f}" + ("" if self.percentile is None else f"  p{self.percentile:.0f}")

    @property
    def name(self) -> str:
        """Its path, how many more there are of it, and whether its file is no image any more."""
        copies = f"  (+{self.copies} {'copy' if self.copies == 1 else 'copies'})" if self.copies else ""
        return self.path + copies + ("  (stale)" if self.stale else "")


@dataclass(frozen=True, slots=True)
class Row:
    """A query and its hits, nearest first; `refused` says why there are none.

    note: a few words under the query, on the page only.
    """

    query: str
    read: Read | None
    hits: Sequence[Tile]
    label: str | None = None
    refused: str | None = None
    note: str | None = None

    def right(self, hit: Tile) -> bool | None:
        """Whether the hit bears the query's label; None where either has none."""
        return None if self.label is None or hit.label is None else hit.label == self.label


@dataclass(frozen=True, slots=True)
class Table:
    """Numbers as they are printed; the first column names the rows."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Small:
    """A picture at the size of a thumbnail; `tiny` when its own pixels were enlarged to squares."""

    pixels: UInt8[ndarray, "h w 3"]
    tiny: bool


def small(read: Read | None, where: str, side: int) -> Small | None:
    """The picture with its longer edge at most `side` pixels; None, never an error, where it cannot be read."""
    if read is None:
        return None
    try:
        data = read()
        height, width, _ = probe(data, where)
        return Small(thumbnail(data, where, side), 2 * max(height, width) <= side)
    except BadImage:
        return None


def left_out(rows: Sequence[Row], shown: int, hits: int) -> list[str]:
    """A note for the reader when only the first `shown` rows and `hits` hits of each are there; else nothing."""
    longest = max((len(row.hits) for row in rows), default=0)
    notes = [f"the first {shown:,} of {len(rows):,} queries"] if shown < len(rows) else []
    notes += [f"at most {hits} of {longest:,} hits each"] if hits < longest else []
    return ["Cut to " + " and ".join(notes) + "."] if notes else []
