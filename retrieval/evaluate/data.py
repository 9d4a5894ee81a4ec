"""The evaluation set: images in one array, which of them are indexed and which are queries, labels and copies."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, UInt8

from retrieval.errors import SourceError
from retrieval.schema.image_shape import ImageShape
from retrieval.sources import Entry
from retrieval.sources.arrays import choose_rows, read_image_array
from retrieval.sources.read import Loaded, Refused, read_images
from retrieval.train.augment import Distortion, default_distortion, distorted_copies
from retrieval.train.data import PIXEL_BUDGET
from retrieval.util.reporting import ReportCount, ignore

SEED = 0
"""Seed of every random choice here, so that two evaluations of the same images agree."""
NO_LABEL = -1
COPIES = 1000
"""Maximum number of images of which a distorted copy is made."""
BLOCK = 512
"""Images in memory at a time where a baseline takes them in a size of its own."""


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """The images of an evaluation, by row.

    images: u8[n, h, w, channels] in [0, 255]; the first `indexed` are searched
    queries: rows that are used as queries; may be indexed rows
    labels: a number for each label, NO_LABEL for none
    contents: a number for each content (SHA-256)
    copies: distorted copies of the indexed rows `originals`
    left_out: number of images left out because they would not have fitted into memory
    distortion: of the copies
    """

    entries: Sequence[Entry]
    images: UInt8[np.ndarray, "n h w channels"]
    indexed: int
    queries: Int[np.ndarray, " q"]
    labels: Int[np.ndarray, " n"]
    contents: Int[np.ndarray, " n"]
    originals: Int[np.ndarray, " c"]
    copies: UInt8[np.ndarray, "c h w channels"]
    left_out: int
    distortion: Distortion

    @property
    def labelled_queries(self) -> Int[np.ndarray, " a"]:
        """The queries that have a label; none if there is only one label, because every hit would carry it."""
        known: np.ndarray = self.queries[self.labels[self.queries] != NO_LABEL]
        return known if len(np.setdiff1d(self.labels, NO_LABEL)) > 1 else known[:0]

    def has_content_of(self, row: int) -> Bool[np.ndarray, " indexed"]:
        """Whether each indexed image has the row's content; a search leaves these out."""
        same: np.ndarray = self.contents[: self.indexed] == self.contents[row]
        return same

    def relevant(self, row: int) -> Bool[np.ndarray, " indexed"]:
        """Whether each indexed image of other content has the row's label."""
        right: np.ndarray = (self.labels[: self.indexed] == self.labels[row]) & ~self.has_content_of(row)
        return right


def read_evaluation_set(
    searched: Sequence[Entry],
    asked: Sequence[Entry] | None,
    shape: ImageShape,
    limit: int,
    progress: ReportCount,
) -> tuple[EvaluationSet, list[Refused]]:
    """Read all images of an evaluation; returns them with the images that were refused.

    searched: entries to search; a random part of those that would exceed PIXEL_BUDGET
    asked: entries of the queries; None: the searched images are the queries
    shape: how to read them
    limit: maximum number of queries, chosen at random
    Raises SourceError when fewer than two images can be searched, or no query can be used.
    """
    given = len(searched)
    searched = [searched[i] for i in choose_rows(given, PIXEL_BUDGET // shape.nbytes)]
    every = [*searched, *([] if asked is None else [asked[i] for i in choose_rows(len(asked), limit)])]
    read = read_image_array(every, shape, progress)
    indexed = int((read.rows < len(searched)).sum())
    others = len(read.entries) - indexed
    if indexed < 2 or (asked is not None and not others):
        first = read.refused[0] if read.refused else None
        why = f"; the first refused: {first.entry.name}: {first.reason}" if first else ""
        raise SourceError(
            f"{indexed} usable images to search{'' if asked is None else f', {others} to query with'}:"
            f" it takes at least 2{'' if asked is None else ' and 1'}{why}"
        )
    queries = choose_rows(indexed, limit) if asked is None else np.arange(indexed, len(read.entries))
    originals = choose_rows(indexed, COPIES)
    distortion = default_distortion(read.images[originals])
    data = EvaluationSet(
        read.entries,
        read.images,
        indexed,
        queries,
        number_names([entry.label for entry in read.entries]),
        number_names(read.contents),
        originals,
        distorted_copies(read.images[originals], SEED, distortion),
        given - len(searched),
        distortion,
    )
    return data, read.refused


def read_again(
    entries: Sequence[Entry], shape: ImageShape, progress: ReportCount = ignore
) -> Iterator[tuple[int, UInt8[np.ndarray, "_b h w c"]]]:
    """Read images in another size, BLOCK at a time: the first row of each block, and its images.

    An image that cannot be read any more is black.
    """
    items = read_images(entries, shape)
    for start in range(0, len(entries), BLOCK):
        block = np.zeros((min(BLOCK, len(entries) - start), *shape.array), np.uint8)
        for row, item in enumerate(itertools.islice(items, len(block))):
            if isinstance(item, Loaded):
                block[row] = item.image.pixels
        yield start, block
        progress(start + len(block), len(entries))


def number_names(names: Sequence[str | None]) -> Int[np.ndarray, " n"]:
    """Number the distinct names from 0 up; None becomes NO_LABEL."""
    numbers: dict[str | None, int] = {None: NO_LABEL}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int32)
