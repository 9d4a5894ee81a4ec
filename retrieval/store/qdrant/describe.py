"""What a server reports about itself and one collection, for people: nodes, peers, replicas, index, locks."""

import contextlib
import threading
from typing import Any

import httpx
from qdrant_client import models

from retrieval.errors import NoCollection, StoreError
from retrieval.store.qdrant.connection import Connection
from retrieval.store.qdrant.health import replica_states, unreachable_peers
from retrieval.store.qdrant.lock import LOCKS, has_value, is_silent
from retrieval.util.process import describe_process

MOST_LOCKS = 100
LOOK_SECONDS = 2.0
"""How long to wait for the dashboard's page, which is only a convenience."""


def describe_server(connection: Connection, collection: str | None) -> dict[str, Any]:
    """All facts that the server answers. Raises StoreUnavailable if no node answers, NoCollection.

    server: its version
    nodes: URL from QDRANT_URL → `version`, `peer` (its id) and `peers` (how many it knows), or `error`
    peers: number of peers
    peers_away: peers that some node cannot reach, in words
    locks: alias → who holds it, and whether that process is dead

    Of the collection:

    shards, replicas, write_consistency: as in `Layout`
    copies, active: number of replicas of all shards, and how many of them are active
    status: `green`, `yellow` (being rebuilt), `grey` (waits for an update) or `red`
    indexed: number of codes in an index; small segments have none
    """
    facts: dict[str, Any] = {"server": connection.query(connection.client.info).version, **list_nodes(connection)}
    for question in (list_locks,) if collection is None else (list_locks, count_replicas, describe_index):
        try:
            facts |= question(connection, collection or "")
        except NoCollection:
            raise
        except StoreError:  # a part is away, or the key does not allow it
            continue
    return facts


def list_nodes(connection: Connection) -> dict[str, Any]:
    """`nodes`, `peers` and `peers_away`. Asks each node: only the cluster's leader knows which peers are gone."""
    client = connection.client

    def ask() -> tuple[str, models.ClusterStatusOneOf1 | None]:
        cluster = client.http.distributed_api.cluster_status().result
        return client.info().version, cluster if isinstance(cluster, models.ClusterStatusOneOf1) else None

    nodes: dict[str, dict[str, Any]] = {}
    known: set[str] = set()
    missed: set[str] = set()
    for url, answer in connection.ask_each(ask).items():
        if isinstance(answer, StoreError):
            nodes[url] = {"error": str(answer)}
            continue
        version, cluster = answer
        nodes[url] = {
            "version": version,
            "peer": cluster and cluster.peer_id,
            "peers": len(cluster.peers) if cluster else 1,
        }
        if cluster:
            known |= {*cluster.peers}
            missed |= {*unreachable_peers(cluster)}
    return {"nodes": nodes, "peers": len(known) or 1, "peers_away": sorted(missed)}


def list_locks(connection: Connection, _: str) -> dict[str, Any]:
    """`locks`, including those of dead or silent holders, which the next job takes over."""
    found: list[models.Record] = []
    with contextlib.suppress(NoCollection):  # no job has written to this server yet
        free = models.Filter(must_not=[has_value("holder", "")])
        found, _next = connection.query(connection.client.scroll, LOCKS, free, limit=MOST_LOCKS, with_payload=True)
    records = [r.payload for r in found if r.payload and r.payload["alias"] == r.payload.get("for", r.payload["alias"])]
    return {
        "locks": {r["alias"]: f"{describe_process(r)}{', dead or silent' if is_silent(r) else ''}" for r in records}
    }


def count_replicas(connection: Connection, collection: str) -> dict[str, Any]:
    """`active` and `copies`; a single server has one replica of each shard."""
    found = replica_states(connection, collection).values()
    return {"copies": len(found), "active": sum(state == models.ReplicaState.ACTIVE for state in found)}


def describe_index(connection: Connection, collection: str) -> dict[str, Any]:
    """The other facts; a cluster with a hanging node may not report them in time."""
    found = connection.query(connection.client.get_collection, collection)
    asked = found.config.params
    return {
        "shards": asked.shard_number,
        "replicas": asked.replication_factor,
        "write_consistency": asked.write_consistency_factor,
        "status": found.status.value,
        "indexed": found.indexed_vectors_count or 0,
    }


def has_dashboard(url: str, seconds: float = LOOK_SECONDS) -> bool:
    """Whether the server at the URL serves Qdrant's own web page, `/dashboard`, as HTML.

    Builds without it answer 404. Sends one request; also False if the server does not answer within `seconds`.
    """
    found = threading.Event()

    def look() -> None:
        with (
            contextlib.suppress(httpx.HTTPError),
            httpx.Client(follow_redirects=True, timeout=seconds, trust_env=url.startswith("https:")) as client,
            client.stream("GET", f"{url}/dashboard") as answer,
        ):
            if answer.status_code == httpx.codes.OK and "text/html" in answer.headers.get("content-type", ""):
                found.set()

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(seconds)
    return found.is_set()
