"""The figures of scripts/bench_quality, and its table."""

import statistics
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.table import Table

ROWS = ("ours", "raw pixels", "PCA", "colour histogram", "perceptual hash", "frozen trunk")
MISSING = "–"


@dataclass
class Result:
    """A data set's figures for one way to count.

    images, queries: searched, and searched with
    precision: P@5 in [0, 1] by method; ours once for each seed
    dims: of each method's embeddings
    train_seconds: of `retrieval train`, for each seed
    trunk: our last model stands on the trunk
    """

    data: str
    task: str
    images: int = 0
    queries: int = 0
    precision: dict[str, list[float]] = field(default_factory=dict)
    dims: dict[str, int] = field(default_factory=dict)
    train_seconds: list[float] = field(default_factory=list)
    trunk: bool = False

    def add(self, method: str, dim: int, precision: float) -> None:
        self.precision.setdefault(method, []).append(precision)
        self.dims[method] = dim

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def table(results: list[Result]) -> Table:
    """A row for each data set and way to count, a column for each method."""
    caption = (
        "P@5: share of the five nearest images that carry the query's label. Ours: `retrieval train`; in brackets its"
        " numbers for each image, which PCA has too, and +t where it stands on the trunk. Training: the whole command,"
        " mean of the seeds. ±: standard deviation over seeds."
    )
    drawn = Table("data", "queries", caption=caption)
    drawn.columns[1].justify = "right"
    for heading in (*ROWS, "training"):
        drawn.add_column(heading, justify="right")
    for result in results:
        own = f" ({result.dims['ours']}{'+t' if result.trunk else ''})"
        cells = [mean_and_deviation(result.precision[row]) if row in result.precision else MISSING for row in ROWS]
        drawn.add_row(
            result.data,
            f"{result.task}: {result.queries:,} of {result.images:,}",
            cells[0] + own,
            *cells[1:],
            f"{statistics.mean(result.train_seconds):,.0f} s",
        )
    return drawn


def mean_and_deviation(values: list[float]) -> str:
    """
    >>> mean_and_deviation([0.9851]), mean_and_deviation([0.98, 0.99])
    ('0.9851', '0.9850 ± 0.0071')
    """
    mean = f"{statistics.mean(values):.4f}"
    return f"{mean} ± {statistics.stdev(values):.4f}" if len(values) > 1 else mean
