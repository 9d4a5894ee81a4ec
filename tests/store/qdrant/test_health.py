"""A collection's health when a proxy changes a real server's answers; the tests of `reindex` use a real cluster."""

import json
import os
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from retrieval.errors import NoCollection, StoreUnavailable
from retrieval.store.base import CollectionHealth
from tests.errors import mentions
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
    """The server's answer about the collection, with another status."""
    with urllib.request.urlopen(f"{url}/collections/{name}", timeout=30) as response:
        return answer({**json.load(response)["result"], "status": status})


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("green", CollectionHealth(True)),
        ("yellow", CollectionHealth(False)),
        ("grey", CollectionHealth(False)),
        ("red", CollectionHealth(False, ("its status is red",))),
    ],
)
def test_the_status_that_a_server_gives(
    faulty: Proxy, qdrant_url: str, name: str, status: str, expected: CollectionHealth
) -> None:
    with connected(faulty.url) as store:
        faulty.fail(f"/collections/{name}", described(qdrant_url, name, status))
        assert store.health(name) == expected
    woken = f"PATCH /collections/{name}" in faulty.seen
    assert woken == (status == "grey"), "after a restart the optimisers sleep"
    searched = f"POST /collections/{name}/points/query" in faulty.seen
    assert searched == (status != "red")


def test_a_replica_that_does_not_answer(faulty: Proxy, name: str) -> None:
    with connected(faulty.url, time_limits=SHORT) as store:
        faulty.fail("/points/scroll", *[Refuse(503)] * 1000)
        found = store.health(name)
    assert not found.settled
    (trouble,) = found.troubles
    assert [part for part in ("replica", faulty.url) if not mentions(trouble, part)] == []
    assert f"GET /collections/{name}" not in faulty.seen, "what would wait for minutes is not asked"


def cluster(**differs: Any) -> dict[str, Any]:
    """The answer of node 1 of three about the cluster."""
    peers = {str(number): {"uri": f"http://node-{number}:6335/"} for number in (1, 7, 5)}
    whole = {"status": "enabled", "peer_id": 1, "peers": peers, "raft_info": RAFT, "consensus_thread_status": WORKING}
    return {**whole, "message_send_failures": {}, **differs}


def silent(*numbers: int, at: str = "2026-11-25T06:59:59.5Z") -> dict[str, Any]:
    """Failures to reach nodes, by address as the server gives them."""
    failure = {"count": 3, "latest_error": "gone", "latest_error_timestamp": at}
    return {f"http://node-{number}:6335/": failure for number in numbers}


def spread_over(*states: str) -> dict[str, Any]:
    """A collection of one shard here, and a replica on peer 7 for each state."""
    here = [{"shard_id": n, "points_count": 3, "state": "Active"} for n in range(len(states))]
    there = [{"shard_id": n, "peer_id": 7, "state": state} for n, state in enumerate(states)]
    return {
        "peer_id": 1,
        "shard_count": len(states),
        "local_shards": here,
        "remote_shards": there,
        "shard_transfers": [],
    }


def test_peers_and_replicas_of_a_cluster_that_are_away(faulty: Proxy, name: str) -> None:
    with connected(faulty.url) as store:
        store.aliases()
        shards = spread_over("Partial", "Active")
        shards["local_shards"][1]["state"] = "Dead"
        faulty.fail("cluster", answer(cluster(message_send_failures=silent(7, 5))), answer(shards))
        assert store.health(name) == CollectionHealth(
            False,
            (
                *("peer 5 (http://node-5:6335/) does not answer", "peer 7 (http://node-7:6335/) does not answer"),
                *("shard 1 here is Dead", "shard 0 on peer 7 is Partial"),
            ),
        )
        assert faulty.seen == ["GET /cluster", f"GET /collections/{name}/cluster"]


STOPPED = {"consensus_thread_status": "stopped_with_err", "err": "disk full"}
STALE = silent(7, 5, at="2026-11-25T06:59:49Z")
"""Failures eleven seconds before the node's report: of a removed peer, whose address another peer now has."""


@pytest.mark.parametrize(
    ("says", "troubles"),
    [
        (cluster(message_send_failures=STALE), ()),
        (cluster(message_send_failures={**STALE, **silent(5)}), ("peer 5 (http://node-5:6335/) does not answer",)),
        (cluster(message_send_failures=silent(9)), ("peer http://node-9:6335/ does not answer",)),
        (
            cluster(message_send_failures={"http://node-5:6335/": {"count": 1}}),
            ("peer 5 (http://node-5:6335/) does not answer",),
        ),
        (
            cluster(consensus_thread_status=STOPPED, message_send_failures=silent(5)),
            ("consensus has stopped at peer 1 (disk full)",),
        ),
        (
            cluster(consensus_thread_status={"consensus_thread_status": "stopped"}),
            ("consensus has stopped at peer 1 (no reason is given)",),
        ),
        (
            cluster(raft_info={**RAFT, "leader": 0}),
            ("the cluster has no leader: too few of its peers reach each other",),
        ),
    ],
    ids=["stale", "one fresh", "unknown address", "no time", "stopped", "stopped silently", "no leader"],
)
def test_troubles_that_a_node_reports_of_its_peers(
    faulty: Proxy, name: str, says: dict[str, Any], troubles: tuple[str, ...]
) -> None:
    with connected(faulty.url) as store:
        store.aliases()
        faulty.fail("cluster", answer(says), answer(spread_over("Active")))
        assert store.health(name) == CollectionHealth(not troubles, troubles)


def test_a_server_by_itself_is_described(faulty: Proxy, name: str) -> None:
    with connected(faulty.url) as store:
        facts = store.describe(name)
        version = facts["server"]
        assert facts["nodes"] == {faulty.url: {"version": version, "peer": None, "peers": 1}}
        assert (facts["peers"], facts["peers_away"]) == (1, [])
        assert [facts[key] for key in ("shards", "replicas", "write_consistency", "copies", "active")] == [1] * 5
        assert (facts["status"], facts["indexed"]) == ("green", 0)
        assert store.describe().keys() == {"server", "nodes", "peers", "peers_away", "locks"}
        with store.lock("test-described"):
            assert str(os.getpid()) in store.describe()["locks"]["test-described"]
        assert "test-described" not in store.describe()["locks"]
        with pytest.raises(NoCollection):
            store.describe(f"{name}-none")


def test_parts_that_do_not_answer_are_left_out_of_the_description(faulty: Proxy, name: str) -> None:
    with connected(faulty.url, time_limits=SHORT) as store:
        faulty.fail("/cluster", answer(cluster(message_send_failures=silent(7))), *[Refuse(503)] * 1000)
        facts = store.describe(name)
        assert (facts["peers"], facts["peers_away"]) == (3, ["7 (http://node-7:6335/)"])
        assert facts["nodes"][faulty.url]["peers"] == 3
        assert "copies" not in facts
        assert facts["status"] == "green"
        faulty.fail("", *[Refuse(503)] * 1000)
        with pytest.raises(StoreUnavailable):
            store.describe(name)


def test_a_collection_that_cannot_be_created_raises(faulty: Proxy, name: str) -> None:
    with connected(faulty.url, time_limits=SHORT) as store:
        store.aliases()
        faulty.fail(f"/{name}-new", *[Refuse(503)] * 1000)
        with pytest.raises(StoreUnavailable):
            store.create_collection(f"{name}-new", meta())
        assert not [request for request in faulty.seen if request.endswith("/index")]
