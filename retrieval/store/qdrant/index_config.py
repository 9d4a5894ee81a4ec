"""A `Layout` as Qdrant's configuration."""

from typing import Any

from qdrant_client import models

from retrieval.schema.index_config import OVERSAMPLING, Layout
from retrieval.store.base import SearchParams
from retrieval.store.qdrant.connection import Connection

QUANTILE = 0.99
"""Range of the int8 steps: clips the outermost 1% of values, which would make all steps coarser."""


def count_peers(connection: Connection) -> int:
    """Number of nodes of the cluster; 1 for a single server."""
    cluster = connection.query(connection.client.http.distributed_api.cluster_status).result
    return len(cluster.peers) if isinstance(cluster, models.ClusterStatusOneOf1) else 1


def sharding_config(layout: Layout, number: int) -> dict[str, Any]:
    """Shards and replicas of a new collection on that many peers."""
    chosen = layout.over(number)
    return {
        "shard_number": chosen.shards,
        "replication_factor": chosen.replicas,
        "write_consistency_factor": chosen.write_consistency,
    }


def hnsw_config(layout: Layout) -> models.HnswConfigDiff:
    """The HNSW index; without links (m = 0) if every code is compared."""
    return models.HnswConfigDiff(
        m=0 if layout.exact else layout.m, ef_construct=layout.ef_construct, on_disk=layout.on_disk
    )


def payload_index(kind: str) -> Any:
    """The index of a payload field, on disk: in memory, those of a million points took 1 GB (docs/scaling.md)."""
    params = {
        "keyword": models.KeywordIndexParams,
        "integer": models.IntegerIndexParams,
        "datetime": models.DatetimeIndexParams,
        "bool": models.BoolIndexParams,
    }
    return params[kind](type=kind, on_disk=True)


def vectors_on_disk(layout: Layout) -> bool:
    """Whether full codes stay on disk: next to int8 codes in memory, only a few candidates' are read."""
    return layout.on_disk or layout.int8


def quantization_config(layout: Layout) -> models.ScalarQuantization | None:
    """One byte per dimension; None without int8."""
    if not layout.int8:
        return None
    return models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=QUANTILE, always_ram=True)
    )


def optimizers_config(layout: Layout, dim: int) -> models.OptimizersConfigDiff:
    """From how many kilobytes of codes a segment gets a graph; Qdrant's own default is 10,000, whatever the machine."""
    return models.OptimizersConfigDiff(indexing_threshold=max(1, layout.graph_from * dim * 4 // 1024))


NO_INDEXING = models.OptimizersConfigDiff(indexing_threshold=0)
"""Build no graph, however many codes there are."""


def search_params(layout: Layout, params: SearchParams) -> models.SearchParams:
    """Search settings for a collection of that layout; `params` take precedence."""
    rescore = models.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING)
    return models.SearchParams(
        exact=(layout.exact if params.exact is None else params.exact) or None,
        hnsw_ef=layout.ef if params.ef is None else params.ef,
        quantization=rescore if layout.int8 else None,
    )
