"""Whether every part of a server's collection answers: peers, replicas, and a real query of all of them.

What Qdrant says of itself is not enough. Only the leader of a cluster knows that a peer is gone, a replica is called
active until a write to it fails, and `/readyz` stays 200: so each replica is asked as well.
"""

from qdrant_client import models

from retrieval.errors import StoreError
from retrieval.store.base import Condition
from retrieval.store.connection import Connection


def condition(connection: Connection, collection: str, dim: int) -> Condition:
    """Raises NoCollection, and StoreUnavailable when the server itself does not answer."""
    client, ask = connection.client, connection.query
    status = connection.job(client.get_collection, collection).status
    if status == models.CollectionStatus.GREY:  # after a restart: an empty update wakes the optimisers
        connection.job(client.update_collection, collection, optimizers_config=models.OptimizersConfigDiff())
    troubles = ["its status is red"] if status == models.CollectionStatus.RED else []
    cluster = ask(client.http.distributed_api.cluster_status).result
    if isinstance(cluster, models.ClusterStatusOneOf1):
        troubles += [f"peer {peer} does not answer" for peer in sorted(cluster.message_send_failures)]
        troubles += replicas(connection, collection)
    try:
        everybody = models.ReadConsistencyType.ALL
        ask(client.query_points, collection, [0.0] * dim, limit=1, with_payload=False, consistency=everybody)
    except StoreError as error:
        troubles.append(f"a query of every replica fails: {error}")
    return Condition(status == models.CollectionStatus.GREEN, tuple(troubles))


def replicas(connection: Connection, collection: str) -> list[str]:
    """Those that are not active."""
    shards = connection.query(connection.client.http.distributed_api.collection_cluster_info, collection).result
    assert shards is not None
    every = [(f"shard {s.shard_id} here", s.state) for s in shards.local_shards]
    every += [(f"shard {s.shard_id} on peer {s.peer_id}", s.state) for s in shards.remote_shards]
    return [f"{name} is {state.value}" for name, state in every if state != models.ReplicaState.ACTIVE]
