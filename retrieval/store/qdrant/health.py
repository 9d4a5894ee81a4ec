"""Whether every part of a server's collection answers: peers, replicas, and a real query to all of them.

Qdrant's own status is not enough. Only the leader of a cluster knows that a peer is gone, a replica counts as active
until a write to it fails, and `/readyz` stays 200. So each replica is queried as well.
"""

import datetime as dt

from qdrant_client import models

from retrieval.errors import StoreUnavailable
from retrieval.store.base import CollectionHealth
from retrieval.store.qdrant.connection import Connection

FRESH_SECONDS = 10.0
"""How long a peer counts as away after it could not be reached. The leader retries such a peer several times a second,
or every half second if it hangs (measured). An older failure belongs to a peer that has since been removed, or that
this node has not tried again."""


def check_health(connection: Connection, collection: str) -> CollectionHealth:
    """The collection's health; raises NoCollection, and StoreUnavailable if the server itself does not answer."""
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
    if troubles:  # the requests below would wait for minutes
        return CollectionHealth(False, tuple(troubles))
    found = connection.job(client.get_collection, collection)
    if found.status == models.CollectionStatus.RED:
        return CollectionHealth(False, ("its status is red",))
    if found.status == models.CollectionStatus.GREY:  # after a restart: an empty update starts the optimisers
        connection.job(client.update_collection, collection, optimizers_config=models.OptimizersConfigDiff())
    vectors = found.config.params.vectors
    origin = [0.0] * (vectors.size if isinstance(vectors, models.VectorParams) else 1)
    connection.query(client.query_points, collection, origin, limit=1, with_payload=False, consistency=everybody)
    return CollectionHealth(found.status == models.CollectionStatus.GREEN)


def unreachable_peers(cluster: models.ClusterStatusOneOf1) -> list[str]:
    """Peers that the queried node cannot reach now, as `5 (http://node-5:6335/)`, sorted.

    Compares times of that node's clock only. A node whose consensus has stopped reports no time and contacts no peer,
    so that its last failures mean nothing.
    """
    now = getattr(cluster.consensus_thread_status, "last_update", None)
    names = {peer.uri: f"{number} ({peer.uri})" for number, peer in cluster.peers.items()}
    failures = cluster.message_send_failures.items()
    return sorted(
        names.get(uri, uri) for uri, failure in failures if is_recent_failure(failure.latest_error_timestamp, now)
    )


def is_recent_failure(failed: dt.date | None, now: dt.date | None) -> bool:
    """Whether a failure is at most FRESH_SECONDS old; one without a time counts as recent."""
    if not isinstance(now, dt.datetime):
        return False
    return not isinstance(failed, dt.datetime) or (now - failed).total_seconds() < FRESH_SECONDS


def consensus_troubles(cluster: models.ClusterStatusOneOf1) -> list[str]:
    """Why the cluster cannot create collections or move aliases; empty if it can."""
    status = cluster.consensus_thread_status
    if status.consensus_thread_status != "working":
        return [f"consensus has stopped at peer {cluster.peer_id} ({getattr(status, 'err', 'no reason is given')})"]
    return [] if cluster.raft_info.leader else ["the cluster has no leader: too few of its peers reach each other"]


def inactive_replicas(connection: Connection, collection: str) -> list[str]:
    """Replicas that are not active, in words."""
    every = replica_states(connection, collection)
    return [f"{name} is {state.value}" for name, state in every.items() if state != models.ReplicaState.ACTIVE]


def replica_states(connection: Connection, collection: str) -> dict[str, models.ReplicaState]:
    """Replica → state, of every peer, as the queried node knows them."""
    shards = connection.query(connection.client.http.distributed_api.collection_cluster_info, collection).result
    assert shards is not None
    found = {f"shard {s.shard_id} here": s.state for s in shards.local_shards}
    return found | {f"shard {s.shard_id} on peer {s.peer_id}": s.state for s in shards.remote_shards}
