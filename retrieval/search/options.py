"""The options of a search."""

from dataclasses import dataclass

from retrieval.errors import UsageError
from retrieval.schema.filters import Filter

K = 5
MAX_K = 10_000


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """The options of `retrieval search`.

    k: hits per query, 1 to 10,000
    where: a filter that hits must meet
    include_self: also return images with the query's own content
    keep_copies: return each copy of an image as a hit of its own
    diverse: prefer hits that differ from each other
    max_distance: Euclidean, in [0, ∞)
    max_percentile: in [0, 100]
    Raises UsageError for a number out of range.
    """

    k: int = K
    where: Filter | None = None
    include_self: bool = False
    keep_copies: bool = False
    diverse: bool = False
    max_distance: float | None = None
    max_percentile: float | None = None

    def __post_init__(self) -> None:
        check_k(self.k)
        if self.max_distance is not None and not self.max_distance >= 0:
            raise UsageError(f"must be 0 or more, not {self.max_distance:g}", option="max_distance")
        if self.max_percentile is not None and not 0 <= self.max_percentile <= 100:
            raise UsageError(f"must be between 0 and 100, not {self.max_percentile:g}", option="max_percentile")


def check_k(k: int) -> None:
    """Raise UsageError unless `k` is in [1, MAX_K]."""
    if not 1 <= k <= MAX_K:
        raise UsageError(f"must be between 1 and {MAX_K:,} hits, not {k}", option="k")
