"""The pictures of an evaluation: all in one array, with who is indexed, who asks, and who is the same picture."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, UInt8

from retrieval.errors import SourceError
from retrieval.sources import Entry
from retrieval.sources.arrays import choose_rows, read_image_array
from retrieval.sources.read import Refused
from retrieval.train.augment import distorted_copies
from retrieval.train.data import PIXEL_BUDGET
from retrieval.util.reporting import ReportCount

SEED = 0
"""Of every random choice here, so that two evaluations of the same pictures agree."""
NO_LABEL = -1
COPIES = 1000
"""Pictures of which a distorted copy is made, at most."""


@dataclass(frozen=True, slots=True)
class EvaluationSet:
    """The first `indexed` are searched; `queries` are the rows that ask, which may be among the indexed ones.

    labels: a number for each label, NO_LABEL where there is none · contents: a number for each content (SHA-256) ·
    copies: distorted copies of the `originals` (indexed rows) · left_out: pictures that would not have fitted memory.
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

    @property
    def asking(self) -> Int[np.ndarray, " a"]:
        """The queries that have a label; none when all labels are one, which every hit would carry."""
        known: np.ndarray = self.queries[self.labels[self.queries] != NO_LABEL]
        return known if len(np.setdiff1d(self.labels, NO_LABEL)) > 1 else known[:0]

    def same(self, row: int) -> Bool[np.ndarray, " indexed"]:
        """Which indexed pictures have the row's own content: a search leaves them out."""
        same: np.ndarray = self.contents[: self.indexed] == self.contents[row]
        return same

    def right(self, row: int) -> Bool[np.ndarray, " indexed"]:
        """Which other indexed pictures carry the row's label."""
        right: np.ndarray = (self.labels[: self.indexed] == self.labels[row]) & ~self.same(row)
        return right


def read_evaluation_set(
    searched: Sequence[Entry],
    asking: Sequence[Entry] | None,
    size: tuple[int, int],
    channels: int,
    limit: int,
    progress: ReportCount,
) -> tuple[EvaluationSet, list[Refused]]:
    """Read them all; without `asking` the searched ones ask for each other. At most `limit` ask, chosen at random.

    What would take more than PIXEL_BUDGET bytes of pixels is left out at random. Raises SourceError when fewer than
    two pictures are left to search, or none to ask with.
    """
    given = len(searched)
    searched = [searched[i] for i in choose_rows(given, PIXEL_BUDGET // (size[0] * size[1] * channels))]
    every = [*searched, *([] if asking is None else [asking[i] for i in choose_rows(len(asking), limit)])]
    stack = read_image_array(every, size, channels, progress)
    indexed = int((stack.rows < len(searched)).sum())
    asked = len(stack.entries) - indexed
    if indexed < 2 or (asking is not None and not asked):
        first = stack.refused[0] if stack.refused else None
        why = f"; the first refused: {first.entry.source}/{first.entry.key}: {first.reason}" if first else ""
        raise SourceError(
            f"{indexed} usable pictures to search{'' if asking is None else f', {asked} to ask with'}:"
            f" it takes at least 2{'' if asking is None else ' and 1'}{why}"
        )
    queries = choose_rows(indexed, limit) if asking is None else np.arange(indexed, len(stack.entries))
    originals = choose_rows(indexed, COPIES)
    pictures = EvaluationSet(
        stack.entries,
        stack.images,
        indexed,
        queries,
        number_names([entry.label for entry in stack.entries]),
        number_names(stack.contents),
        originals,
        distorted_copies(stack.images[originals], SEED),
        given - len(searched),
    )
    return pictures, stack.refused


def number_names(names: Sequence[str | None]) -> Int[np.ndarray, " n"]:
    """A number for each different name, NO_LABEL for None."""
    numbers: dict[str | None, int] = {None: NO_LABEL}
    return np.array([numbers.setdefault(name, len(numbers)) for name in names], np.int32)
