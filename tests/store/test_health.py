"""What a collection's condition says when a proxy spoils a real server's answers; `reindex` meets a real cluster."""

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from retrieval.errors import StoreUnavailable
from retrieval.store.base import Condition
from tests.store.conftest import SHORT, clean, codes, connected, meta, points
from tests.store.faults import Proxy, Refuse, proxy

RAFT = {"term": 1, "commit": 9, "pending_operations": 0, "leader": 1, "role": "Leader", "is_voter": True}
WORKING = {"consensus_thread_status": "working", "last_update": "2026-11-25T07:00:00Z"}


@pytest.fixture
def faulty(qdrant_url: str, name: str) -> Iterator[Proxy]:
    """A server with a collection of three points."""
    with proxy(qdrant_url) as between:
        with connected(between.url) as store:
            store.create_collection(name, meta())
            store.upsert(name, points(codes(3)))
        yield between
    clean(qdrant_url)


def answer(result: dict[str, Any]) -> Refuse:
    return Refuse(200, {"Content-Type": "application/json"}, json.dumps({"result": result, "time": 0}).encode())


def described(url: str, name: str, status: str) -> Refuse:
    """What the server says of the collection, with another status."""
    with urllib.request.urlopen(f"{url}/collections/{name}", timeout=30) as response:
        return answer({**json.load(response)["result"], "status": status})


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("green", Condition(True)),
        ("yellow", Condition(False)),
        ("grey", Condition(False)),
        ("red", Condition(False, ("its status is red",))),
    ],
)
def test_the_status_that_a_server_gives(
    faulty: Proxy, qdrant_url: str, name: str, status: str, expected: Condition
) -> None:
    with connected(faulty.url) as store:
        faulty.fail(f"/collections/{name}", described(qdrant_url, name, status))
        assert store.condition(name) == expected
    woken = f"PATCH /collections/{name}" in faulty.seen
    assert woken == (status == "grey"), "after a restart the optimisers sleep"
    searched = f"POST /collections/{name}/points/query" in faulty.seen
    assert searched == (status != "red")


def test_a_replica_that_does_not_answer(faulty: Proxy, name: str) -> None:
    with connected(faulty.url, patience=SHORT) as store:
        faulty.fail("/points/scroll", *[Refuse(503)] * 1000)
        found = store.condition(name)
    assert not found.settled
    (trouble,) = found.troubles
    assert trouble.startswith(f"a replica does not answer: {faulty.url} does not answer")
    assert f"GET /collections/{name}" not in faulty.seen, "what would wait for minutes is not asked"


def test_peers_and_replicas_of_a_cluster_that_are_away(faulty: Proxy, name: str) -> None:
    peers = {str(number): {"uri": f"http://node-{number}"} for number in (1, 7, 5)}
    silent = {number: {"count": 3, "latest_error": "gone"} for number in ("7", "5")}
    cluster = {"status": "enabled", "peer_id": 1, "peers": peers, "raft_info": RAFT}
    here = [{"shard_id": n, "points_count": 3, "state": state} for n, state in enumerate(("Active", "Dead"))]
    there = [{"shard_id": n, "peer_id": 7, "state": state} for n, state in enumerate(("Partial", "Active"))]
    shards = {"peer_id": 1, "shard_count": 2, "local_shards": here, "remote_shards": there, "shard_transfers": []}
    with connected(faulty.url) as store:
        store.aliases()
        faulty.fail(
            "cluster",
            answer({**cluster, "consensus_thread_status": WORKING, "message_send_failures": silent}),
            answer(shards),
        )
        assert store.condition(name) == Condition(
            False,
            (
                *("peer 5 does not answer", "peer 7 does not answer"),
                *("shard 1 here is Dead", "shard 0 on peer 7 is Partial"),
            ),
        )
        assert faulty.seen == ["GET /cluster", f"GET /collections/{name}/cluster"]


def test_a_collection_that_cannot_be_made_is_not_gone_on_with(faulty: Proxy, name: str) -> None:
    with connected(faulty.url, patience=SHORT) as store:
        store.aliases()
        faulty.fail(f"/{name}-new", *[Refuse(503)] * 1000)
        with pytest.raises(StoreUnavailable):
            store.create_collection(f"{name}-new", meta())
        assert not [request for request in faulty.seen if request.endswith("/index")]
