"""The indexes that `tune` tries, an estimate of their memory, and the choice among them.

Binary quantization is not tried: with embeddings of 64 numbers and Euclidean distance its recall is 3 to 7%.
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
"""Ordered so that each can be built from the one before; the first is Qdrant's default."""
EFS = (32, 64, 128, 256, 512)
LINK_BYTES = 2.6
"""Bytes per link of the graph in Qdrant 1.16: 82 MB for a million points with m = 16, which has 32 links per point."""


@dataclass(frozen=True, slots=True)
class IndexMeasurement:
    """What was measured of an index.

    recall: share of the true five nearest that it finds, in [0, 1]
    p50, p95: quantiles of the seconds of one search, with one client
    memory: bytes of embeddings and graph, by `estimate_memory`
    build: seconds until the index was built
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
    """The values of `ef` to search a build with."""
    return (EXACT.ef,) if build.exact else EFS


def estimate_memory(layout: Layout, points: int, dim: int) -> int:
    """Bytes that must be in memory to search it, without payloads and ids, which are the same for every layout.

    >>> memory(Layout(exact=True), 1_000_000, 64), memory(Layout(m=16, int8=True), 1_000_000, 64)
    (256000000, 147200000)
    """
    codes = dim if layout.int8 else 0 if layout.on_disk else 4 * dim
    links = 0 if layout.exact or layout.on_disk else 2 * (layout.m or 16) * LINK_BYTES
    return int(points * (codes + links))


def choose_index(
    rows: Sequence[IndexMeasurement], min_recall: float, max_p95: float, *, on_disk: bool
) -> IndexMeasurement | None:
    """Of the indexes within the limits, the one with the least memory, then the fastest; None if none is.

    rows: what was measured
    min_recall: least recall, in [0, 1]
    max_p95: largest p95, in seconds
    on_disk: also consider on-disk indexes, which rely on the OS page cache and count as taking no memory
    """
    good = [
        row for row in rows if row.recall >= min_recall and row.p95 <= max_p95 and (on_disk or not row.layout.on_disk)
    ]
    return min(good, key=lambda row: (row.memory, row.p95), default=None)
