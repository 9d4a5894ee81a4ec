"""What a server says of itself and of one collection, for people who look: nodes, peers, replicas, index, locks."""

import contextlib
import threading
from typing import Any

import httpx
from qdrant_client import models

from retrieval.errors import NoCollection, StoreError
from retrieval.process import in_words
from retrieval.store.connection import Connection
from retrieval.store.health import replica_states, unreachable_peers
from retrieval.store.lock import LOCKS, has_value, is_silent

MOST_LOCKS = 100
LOOK_SECONDS = 2.0
"""How long a server may take to show that it has a dashboard: nobody waits longer for a line that is nice to have."""


def describe(connection: Connection, collection: str | None) -> dict[str, Any]:
    """What could be found out. Raises StoreUnavailable when no node answers, NoCollection.

    server: its version · nodes: each URL of QDRANT_URL → `version`, `peer` (its id) and `peers` (how many it knows),
    or `error` · peers: how many there are · peers_away: those that some node cannot reach, in words · locks: alias →
    who holds it, and whether that one is dead. Of the collection: shards, replicas, write_consistency, as `Layout` ·
    active: replicas that are, of `copies` · status: `green`, `yellow` (being rebuilt), `grey` (waits for an update) or
    `red` · indexed: codes that are in an index, fewer than there are where segments are small.
    """
    facts: dict[str, Any] = {"server": connection.query(connection.client.info).version, **members(connection)}
    for question in (locks,) if collection is None else (locks, count_replicas, index):
        try:
            facts |= question(connection, collection or "")
        except NoCollection:
            raise
        except StoreError:  # a part is unreachable_peers, or the key may not see it
            continue
    return facts


def members(connection: Connection) -> dict[str, Any]:
    """`nodes`, each asked by itself, and what they know of each other: only the leader knows who is gone."""
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


def locks(connection: Connection, _: str) -> dict[str, Any]:
    """`locks`, those of dead or silent holders among them: the next job takes such a one over."""
    found: list[models.Record] = []
    with contextlib.suppress(NoCollection):  # nobody has written here yet
        free = models.Filter(must_not=[has_value("holder", "")])
        found, _next = connection.query(connection.client.scroll, LOCKS, free, limit=MOST_LOCKS, with_payload=True)
    records = [r.payload for r in found if r.payload and r.payload["alias"] == r.payload.get("for", r.payload["alias"])]
    return {"locks": {r["alias"]: f"{in_words(r)}{', dead or silent' if is_silent(r) else ''}" for r in records}}


def count_replicas(connection: Connection, collection: str) -> dict[str, Any]:
    """`active` and `copies`; a server by itself has one of each shard."""
    found = replica_states(connection, collection).values()
    return {"copies": len(found), "active": sum(state == models.ReplicaState.ACTIVE for state in found)}


def index(connection: Connection, collection: str) -> dict[str, Any]:
    """The rest; of a cluster with a hanging node the server may not say in time."""
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
    """Whether the server at the URL shows Qdrant's own page: `/dashboard`, asked once, is a page of HTML.

    Builds without the pages answer 404. False, too, for a server that does not answer within `seconds` in all.
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
