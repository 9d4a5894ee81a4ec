"""What a gallery shows, on the page as in the PNG: rows of an image and those beside it, each with its caption."""

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
    """An image and its caption.

    read: None if the source of the image cannot be opened
    name: its full name; empty for an image that has none, a reconstruction
    head: the first words of the caption, in bold: what the image is here, or its distance
    rank: of a hit, from 1
    facts: more lines of the caption
    """

    read: Read | None
    name: str
    head: str
    label: str | None = None
    rank: int | None = None
    facts: Sequence[str] = ()

    @property
    def alt(self) -> str:
        """What the image is, for those who do not see it."""
        head = self.head if self.rank is None else f"hit {self.rank}, {self.head}"
        return f"{head}: {self.name}" if self.name else head


@dataclass(frozen=True, slots=True)
class Row:
    """An image and those beside it, of a query its hits, nearest first.

    nothing: shown in the place of hits if there are none
    """

    query: Tile
    hits: Sequence[Tile]
    nothing: str = ""

    def is_match(self, hit: Tile) -> bool | None:
        """Whether the hit has the query's label; None if either has no label."""
        label = self.query.label
        return None if label is None or hit.label is None else hit.label == label


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


def format_nearness(distance: float, percentile: float | None = None) -> str:
    """Distance and percentile, as text."""
    return f"{distance:.4f}" + ("" if percentile is None else f"  p{percentile:.0f}")


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
    """A note if only the first `shown` rows, or the first `hits` images of each, are shown; otherwise nothing."""
    longest = max((len(row.hits) for row in rows), default=0)
    notes = [f"the first {shown:,} of {len(rows):,} rows"] if shown < len(rows) else []
    notes += [f"at most {hits} of {longest:,} images in each"] if hits < longest else []
    return ["Cut to " + " and ".join(notes) + "."] if notes else []
