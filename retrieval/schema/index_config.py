"""How a server stores and searches a collection: shards, replicas and the index."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HNSW_EF = 256
"""Candidates that a search keeps. On 60,000 codes of 64 dimensions recall is 1.0; Qdrant's default gives 0.994."""
OVERSAMPLING = 3.0
"""int8 candidates per hit that are rescored with their full codes: recall 0.896 → 0.994 at 64 dimensions."""
REPLICAS = 2
"""Copies of each shard on a cluster: one node may fail. More would cost memory and writes."""
GRAPH_FROM = 5_000
"""Codes in a segment from which a graph pays: below, comparing all takes no longer (docs/decisions/0029)."""
WRITE_CONSISTENCY = 1
"""Replicas that must confirm a write. With 2 of 2, writes would fail half-applied when a node is dead."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Settings of a collection on a server. None: chosen by the number of peers (`over`), or Qdrant's default.

    shards, replicas, write_consistency: Qdrant's `shard_number`, `replication_factor`, `write_consistency_factor`
    exact: no index; every code is compared
    m, ef_construct: of the HNSW graph (Malkov & Yashunin 2016, arXiv:1603.09320)
    ef: candidates that a search keeps
    graph_from: codes in a segment from which the server builds a graph
    int8: search codes of one byte per dimension, kept in memory, then rescore the best with their full codes
    on_disk: keep full codes and graph in files, cached in memory by the operating system
    """

    shards: int | None = None
    replicas: int | None = None
    write_consistency: int | None = None
    exact: bool = False
    m: int | None = None
    ef_construct: int | None = None
    ef: int = HNSW_EF
    graph_from: int = GRAPH_FROM
    int8: bool = False
    on_disk: bool = False

    def over(self, peers: int) -> "Layout":
        """The same layout with shards, replicas and write consistency filled in for that many peers.

        >>> Layout().over(3).shards, Layout().over(3).replicas, Layout(shards=6).over(1).replicas
        (3, 2, 1)
        """
        return dataclasses.replace(
            self,
            shards=self.shards or peers,
            replicas=self.replicas or min(REPLICAS, peers),
            write_consistency=self.write_consistency or WRITE_CONSISTENCY,
        )

    def to_json(self) -> dict[str, Any]:
        """The fields that differ from the default."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value != getattr(DEFAULT, name)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Layout":
        """Read the output of `to_json`; raises TypeError for other data."""
        return cls(**data)

    def __str__(self) -> str:
        """The index in a few words.

        >>> str(Layout(m=32, int8=True))
        'HNSW m=32, int8, ef=256'
        """
        if self.exact:
            return "exact"
        graph = [f"{name}={value}" for name in ("m", "ef_construct") if (value := getattr(self, name)) is not None]
        kept = [name.replace("_", " ") for name in ("int8", "on_disk") if getattr(self, name)]
        return ", ".join([" ".join(["HNSW", *graph]), *kept, f"ef={self.ef}"])


DEFAULT = Layout()
