"""Codes of an embedded collection, held in memory to search many queries at once by matrix products."""

from typing import Any, NamedTuple

import numpy as np
import qdrant_edge as edge

from retrieval.schema.arrays import Float32
from retrieval.schema.records import Hit
from retrieval.util.neighbours import PreparedCodes, find_neighbours

TOGETHER = 64
"""Queries from which it pays to read the codes: with 60,000 of them, the engine answers as many in the same time."""
MOST_BYTES = 256 * 2**20
"""Size of the largest collection that is held; as `PreparedCodes` it takes twice as much."""
CHUNK = 1024
"""Queries searched together."""
PAGE = 4096


class HeldCodes(NamedTuple):
    """The ids of a collection, in their order, and their codes."""

    ids: list[str]
    codes: PreparedCodes

    @classmethod
    def read(cls, shard: edge.EdgeShard, dim: int) -> "HeldCodes":
        """Read the whole collection."""
        ids, parts, start = list[str](), [np.empty((0, dim), np.float32)], None
        while True:
            request = edge.ScrollRequest(offset=start, limit=PAGE, with_payload=False, with_vector=True)
            records, start = shard.scroll(request)
            ids += [str(record.id) for record in records]
            if records:
                parts.append(np.array([record.vector for record in records], np.float32))
            if start is None:
                return cls(ids, PreparedCodes(np.concatenate(parts)))

    def query(
        self, shard: edge.EdgeShard, queries: Float32[np.ndarray, "q d"], limit: int, send: Any
    ) -> list[list[Hit]] | None:
        """The nearest points of each query, as the engine finds them; None if one was removed since.

        send: the fields of the payload, as for the engine
        """
        found = find_neighbours(self.codes, limit, queries)
        ids = [[self.ids[row] for row in rows] for rows in found.rows.tolist()]
        payloads: dict[str, Any] = {}
        if send:
            wanted = list({id_ for some in ids for id_ in some})
            payloads = {str(record.id): record.payload or {} for record in shard.retrieve(wanted, send, False)}
            if len(payloads) < len(wanted):
                return None
        return [
            [Hit(id_, distance, dict(payloads.get(id_, {}))) for id_, distance in zip(some, distances, strict=True)]
            for some, distances in zip(ids, found.distances.tolist(), strict=True)
        ]
