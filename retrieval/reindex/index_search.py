"""What is tried, what each costs in memory, and which is chosen.

Binary quantization is not tried: of Euclidean codes with 64 numbers it finds 3 to 7% of the true neighbours.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from retrieval.schema.index_config import Layout

EXACT = Layout(exact=True)
BUILDS = (
    Layout(m=16, ef_construct=100),
    Layout(m=16, ef_construct=100, int8=True),
    Layout(m=32, ef_construct=200, int8=True),
    Layout(m=32, ef_construct=200),
    Layout(m=16, ef_construct=100, on_disk=True),
)
"""In an order in which each can be made from the one before; the first is Qdrant's own default."""
EFS = (32, 64, 128, 256, 512)
LINK_BYTES = 2.6
"""In the graph, as Qdrant 1.16 packs it: 82 MB for a million points and m = 16, which has 32 links a point."""


@dataclass(frozen=True, slots=True)
class IndexMeasurement:
    """A layout and what it gave.

    recall: of the true five nearest, in [0, 1] · p50, p95: seconds of one search by one client · memory: bytes that
    codes and graph take, by `estimate_memory` · build: seconds until the index was made.
    """

    layout: Layout
    recall: float
    p50: float
    p95: float
    memory: int
    build: float

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "layout": asdict(self.layout), "index": str(self.layout)}


def list_efs(build: Layout) -> Sequence[int]:
    """What to search it with."""
    return (EXACT.ef,) if build.exact else EFS


def estimate_memory(layout: Layout, points: int, dim: int) -> int:
    """Bytes that must be in memory to search it; payload and ids come on top, the same for every layout.

    >>> memory(Layout(exact=True), 1_000_000, 64), memory(Layout(m=16, int8=True), 1_000_000, 64)
    (256000000, 147200000)
    """
    codes = dim if layout.int8 else 0 if layout.on_disk else 4 * dim
    links = 0 if layout.exact or layout.on_disk else 2 * (layout.m or 16) * LINK_BYTES
    return int(points * (codes + links))


def choose_index(
    rows: Sequence[IndexMeasurement], min_recall: float, max_p95: float, *, on_disk: bool
) -> IndexMeasurement | None:
    """The one with the least memory, then the fastest, of those that are good and fast enough; None when none is.

    on_disk: consider also those that count on the system's page cache, where the least memory is no memory.
    """
    good = [
        row for row in rows if row.recall >= min_recall and row.p95 <= max_p95 and (on_disk or not row.layout.on_disk)
    ]
    return min(good, key=lambda row: (row.memory, row.p95), default=None)
