"""Whether every part of a server's collection answers: peers, replicas, and a real query of all of them.

What Qdrant says of itself is not enough. Only the leader of a cluster knows that a peer is gone, a replica is called
active until a write to it fails, and `/readyz` stays 200: so each replica is asked as well.
"""

import datetime as dt

from qdrant_client import models

from retrieval.errors import StoreUnavailable
from retrieval.store.base import Health
from retrieval.store.connection import Connection

FRESH_SECONDS = 10.0
"""For so long a peer that could not be reached counts as away. Who leads the cluster tries such a one several times a
second, half a second apart where it hangs (measured); what is older is of a peer that was removed since, or that this
node has had nothing to say to."""


def check_health(connection: Connection, collection: str) -> Health:
    """Raises NoCollection, and StoreUnavailable when the server itself does not answer."""
    client, everybody = connection.client, models.ReadConsistencyType.ALL
    cluster = connection.query(client.http.distributed_api.cluster_status).result
    troubles = []
    if isinstance(cluster, models.ClusterStatusOneOf1):
        troubles += [f"peer {peer} does not answer" for peer in unreachable_peers(cluster)]
        troubles += consensus_troubles(cluster)
        troubles += inactive_replicas(connection, collection)
    if not troubles:
        try:
            connection.query(client.scroll, collection, limit=1, with_payload=False, consistency=everybody)
        except StoreUnavailable as error:
            troubles.append(f"a replica does not answer: {error}")
    if troubles:  # what follows would wait for minutes
        return Health(False, tuple(troubles))
    found = connection.job(client.get_collection, collection)
    if found.status == models.CollectionStatus.RED:
        return Health(False, ("its status is red",))
    if found.status == models.CollectionStatus.GREY:  # after a restart: an empty update wakes the optimisers
        connection.job(client.update_collection, collection, optimizers_config=models.OptimizersConfigDiff())
    vectors = found.config.params.vectors
    origin = [0.0] * (vectors.size if isinstance(vectors, models.VectorParams) else 1)
    connection.query(client.query_points, collection, origin, limit=1, with_payload=False, consistency=everybody)
    return Health(found.status == models.CollectionStatus.GREEN)


def unreachable_peers(cluster: models.ClusterStatusOneOf1) -> list[str]:
    """Peers that the node which was asked cannot reach just now, `5 (http://node-5:6335/)`, sorted.

    The node's own clock is compared with itself. One whose consensus has stopped has no time to compare with, and
    talks to nobody: what it last could not reach says nothing.
    """
    now = getattr(cluster.consensus_thread_status, "last_update", None)
    names = {peer.uri: f"{number} ({peer.uri})" for number, peer in cluster.peers.items()}
    failures = cluster.message_send_failures.items()
    return sorted(names.get(uri, uri) for uri, failure in failures if is_recent(failure.latest_error_timestamp, now))


def is_recent(failed: dt.date | None, now: dt.date | None) -> bool:
    """Whether that was within the last FRESH_SECONDS; a failure without its time counts."""
    if not isinstance(now, dt.datetime):
        return False
    return not isinstance(failed, dt.datetime) or (now - failed).total_seconds() < FRESH_SECONDS


def consensus_troubles(cluster: models.ClusterStatusOneOf1) -> list[str]:
    """Why nothing can be decided, no collection made and no alias moved; empty when it can."""
    status = cluster.consensus_thread_status
    if status.consensus_thread_status != "working":
        return [f"consensus has stopped at peer {cluster.peer_id} ({getattr(status, 'err', 'no reason is given')})"]
    return [] if cluster.raft_info.leader else ["the cluster has no leader: too few of its peers reach each other"]


def inactive_replicas(connection: Connection, collection: str) -> list[str]:
    """Those that are not active."""
    every = replica_states(connection, collection)
    return [f"{name} is {state.value}" for name, state in every.items() if state != models.ReplicaState.ACTIVE]


def replica_states(connection: Connection, collection: str) -> dict[str, models.ReplicaState]:
    """Every replica on every peer, as the node that is asked knows them."""
    shards = connection.query(connection.client.http.distributed_api.collection_cluster_info, collection).result
    assert shards is not None
    found = {f"shard {s.shard_id} here": s.state for s in shards.local_shards}
    return found | {f"shard {s.shard_id} on peer {s.peer_id}": s.state for s in shards.remote_shards}
