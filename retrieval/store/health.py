"""Whether every part of a server's collection answers: peers, replicas, and a real query of all of them.

What Qdrant says of itself is not enough. Only the leader of a cluster knows that a peer is gone, a replica is called
active until a write to it fails, and `/readyz` stays 200: so each replica is asked as well.
"""

from qdrant_client import models

from retrieval.errors import StoreUnavailable
from retrieval.store.base import Condition
from retrieval.store.connection import Connection


def condition(connection: Connection, collection: str) -> Condition:
    """Raises NoCollection, and StoreUnavailable when the server itself does not answer."""
    client, everybody = connection.client, models.ReadConsistencyType.ALL
    cluster = connection.query(client.http.distributed_api.cluster_status).result
    troubles = []
    if isinstance(cluster, models.ClusterStatusOneOf1):
        troubles += [f"peer {peer} does not answer" for peer in sorted(cluster.message_send_failures)]
        troubles += replicas(connection, collection)
    if not troubles:
        try:
            connection.query(client.scroll, collection, limit=1, with_payload=False, consistency=everybody)
        except StoreUnavailable as error:
            troubles.append(f"a replica does not answer: {error}")
    if troubles:  # what follows would wait for minutes
        return Condition(False, tuple(troubles))
    found = connection.job(client.get_collection, collection)
    if found.status == models.CollectionStatus.RED:
        return Condition(False, ("its status is red",))
    if found.status == models.CollectionStatus.GREY:  # after a restart: an empty update wakes the optimisers
        connection.job(client.update_collection, collection, optimizers_config=models.OptimizersConfigDiff())
    vectors = found.config.params.vectors
    origin = [0.0] * (vectors.size if isinstance(vectors, models.VectorParams) else 1)
    connection.query(client.query_points, collection, origin, limit=1, with_payload=False, consistency=everybody)
    return Condition(found.status == models.CollectionStatus.GREEN)


def replicas(connection: Connection, collection: str) -> list[str]:
    """Those that are not active."""
    shards = connection.query(connection.client.http.distributed_api.collection_cluster_info, collection).result
    assert shards is not None
    every = [(f"shard {s.shard_id} here", s.state) for s in shards.local_shards]
    every += [(f"shard {s.shard_id} on peer {s.peer_id}", s.state) for s in shards.remote_shards]
    return [f"{name} is {state.value}" for name, state in every if state != models.ReplicaState.ACTIVE]
