"""How a server keeps a collection and searches it: over how many peers, and by which index."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HNSW_EF = 256
"""Measured on 60,000 codes of 64 dimensions: recall 1.0; Qdrant's own default gives 0.994."""
OVERSAMPLING = 3.0
"""Candidates by int8, for each hit, looked at again by their full codes: recall 0.896 → 0.994 at 64 numbers."""
REPLICAS = 2
"""On a cluster: one node may die. More would cost memory and writes."""
WRITE_CONSISTENCY = 1
"""Replicas that must take a write. With 2 of 2 a dead node would turn writes into half-applied failures."""


@dataclass(frozen=True, slots=True)
class Layout:
    """None: what the number of peers asks for (`over`), or Qdrant's own default.

    shards, replicas, write_consistency: as Qdrant's `shard_number`, `replication_factor`, `write_consistency_factor` ·
    exact: no index, every code is compared · m, ef_construct: of the HNSW graph (Malkov & Yashunin 2016,
    arXiv:1603.09320) · ef: candidates that a search keeps · int8: search by codes of a byte a number, kept in memory,
    then look again at the full codes of the best · on_disk: full codes and graph stay in files, which the system keeps
    in memory as far as there is room.
    """

    shards: int | None = None
    replicas: int | None = None
    write_consistency: int | None = None
    exact: bool = False
    m: int | None = None
    ef_construct: int | None = None
    ef: int = HNSW_EF
    int8: bool = False
    on_disk: bool = False

    def over(self, peers: int) -> "Layout":
        """With its numbers filled in for so many peers.

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
        """What differs from the default."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value != getattr(DEFAULT, name)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Layout":
        """Back from `to_json`; raises TypeError for what is no layout."""
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
