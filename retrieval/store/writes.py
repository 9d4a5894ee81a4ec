"""What stands before a write: every code is checked, then the points are cut into requests."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from retrieval.errors import BadCode
from retrieval.records import Point

BATCH_POINTS = 512
"""Points in one write: 512-1,024 of at most 4 MB were fastest on the server."""
BATCH_BYTES = 4 * 2**20


def checked(points: Iterable[Point], dim: int) -> Iterator[Point]:
    """The same points; raises BadCode for one whose code is missing, of another shape or type, or not finite.

    Qdrant's gRPC and Edge accept NaN, and the point then ranks first in every search; a REST batch with one bad
    vector stores the others.
    """
    for point in points:
        name = f"{point.payload.get('source', '?')}/{point.payload.get('path', point.id)}"
        code = point.code
        if code is None or code.shape != (dim,) or code.dtype != np.float32:
            found = "no code" if code is None else f"{code.dtype}{list(code.shape)}"
            raise BadCode(
                f"{name}: {found}, but the collection takes float32[{dim}]; nothing of this batch was written"
            )
        if not np.isfinite(code).all():
            raise BadCode(
                f"{name}: the code is not finite (NaN or infinite); nothing of this batch was written; train again"
            )
        yield point


def batches(points: Sequence[Point], dim: int) -> Iterator[list[Point]]:
    """Cut into writes of at most BATCH_POINTS points and about BATCH_BYTES bytes (JSON text of the codes)."""
    size = max(1, min(BATCH_POINTS, BATCH_BYTES // (dim * 20 + 1024)))
    for start in range(0, len(points), size):
        yield list(points[start : start + size])
