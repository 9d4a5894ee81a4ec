"""What a gallery shows, on the page as in the PNG: rows of a query and its hits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from numpy import ndarray

from retrieval.errors import BadImage
from retrieval.images.decode import probe, thumbnail
from retrieval.schema.arrays import UInt8

TITLE = "Nearest images"
EXPLANATION = (
    "Nearest first. Distance is Euclidean, between the embeddings of two images: smaller is nearer. p3: as near as the"
    " closest 3% of neighbours here."
)

Read = Callable[[], bytes]
"""Reads an image's file; raises BadImage. Called only when the image is drawn, so that few are in memory."""


@dataclass(frozen=True, slots=True)
class Tile:
    """One hit.

    read: None if the source of the image cannot be opened
    copies: how many more images have the same content
    stale: whether its file is no longer an image
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
        """Distance and percentile, as text."""
        return f"{self.distance:.4f}" + ("" if self.percentile is None else f"  p{self.percentile:.0f}")

    @property
    def name(self) -> str:
        """Path, number of copies, and whether it is stale, as text."""
        copies = f"  (+{self.copies} {'copy' if self.copies == 1 else 'copies'})" if self.copies else ""
        return self.path + copies + ("  (stale)" if self.stale else "")


@dataclass(frozen=True, slots=True)
class Row:
    """A query and its hits, nearest first.

    refused: why there are no hits
    note: a remark under the query, on the page only
    """

    query: str
    read: Read | None
    hits: Sequence[Tile]
    label: str | None = None
    refused: str | None = None
    note: str | None = None

    def is_match(self, hit: Tile) -> bool | None:
        """Whether the hit has the query's label; None if either has no label."""
        return None if self.label is None or hit.label is None else hit.label == self.label


@dataclass(frozen=True, slots=True)
class Table:
    """A table of numbers as text; the first column names the rows."""

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A thumbnail; `tiny` if the image was so small that its pixels were enlarged to squares."""

    pixels: UInt8[ndarray, "h w 3"]
    tiny: bool


def load_thumbnail(read: Read | None, where: str, side: int) -> Thumbnail | None:
    """The image with its longer edge at most `side` pixels; None if it cannot be read."""
    if read is None:
        return None
    try:
        data = read()
        height, width, _ = probe(data, where)
        return Thumbnail(thumbnail(data, where, side), 2 * max(height, width) <= side)
    except BadImage:
        return None


def cut_notes(rows: Sequence[Row], shown: int, hits: int) -> list[str]:
    """A note if only the first `shown` rows, or the first `hits` hits of each, are shown; otherwise nothing."""
    longest = max((len(row.hits) for row in rows), default=0)
    notes = [f"the first {shown:,} of {len(rows):,} queries"] if shown < len(rows) else []
    notes += [f"at most {hits} of {longest:,} hits each"] if hits < longest else []
    return ["Cut to " + " and ".join(notes) + "."] if notes else []
