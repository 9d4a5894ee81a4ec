"""Several URLs of one cluster: which are refused, and which node is asked when. Here, two proxies to one server."""

import socket
from collections.abc import Iterator

import pytest

from retrieval.errors import StoreError, StoreUnavailable, UsageError
from retrieval.store.qdrant.connection import FAIL_FAST
from retrieval.store.qdrant.nodes import Nodes
from retrieval.store.qdrant.server import ServerStore
from tests.errors import raises
from tests.store.conftest import SHORT, clean, codes, connected, meta, points
from tests.store.faults import LOSE, RESET, Fault, Proxy, Refuse, proxy

QUERY = "/query/batch"


@pytest.fixture
def nodes(qdrant_url: str) -> Iterator[tuple[Proxy, Proxy]]:
    """Two proxies to one server."""
    with proxy(qdrant_url) as first, proxy(qdrant_url) as second:
        yield first, second


@pytest.fixture
def filled(qdrant_url: str, name: str) -> Iterator[str]:
    """A collection of three points on it."""
    with connected(qdrant_url) as store:
        store.create_collection(name, meta())
        store.upsert(name, points(codes(3)))
    yield name
    clean(qdrant_url)


@pytest.fixture
def closed() -> Iterator[str]:
    """A URL that refuses connections."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def silent() -> Iterator[str]:
    """A URL that accepts connections and never answers, as a stopped node does."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


def asked(node: Proxy, ending: str = QUERY) -> int:
    """How many such requests have reached the proxy."""
    return sum(request.endswith(ending) for request in node.seen)


@pytest.mark.parametrize(
    ("urls", "named"),
    [
        ("http://a,http://b,http://a", "twice"),
        ("http://a, http://a:6333/", "twice"),
        ("http://a/one,http://b/two", "path"),
        ("http://a/one,http://b", "path"),
        ("http://a,", "http://host:6333"),
        ("http://a;http://b", "http://host:6333"),
        ("http://a http://b", "http://host:6333"),
        ("http://a,b:6333", "http://host:6333"),
        ("http://a,http://b:port", "http://host:6333"),
        ("http://a,http://me:secret@b", "password"),
    ],
)
def test_urls_that_cannot_be_one_cluster_are_refused(urls: str, named: str) -> None:
    with raises(UsageError, "QDRANT_URL", named) as refusal:
        Nodes(urls)
    assert "secret" not in str(refusal.value)


def test_blanks_and_slashes_do_not_matter_and_each_has_a_port() -> None:
    assert Nodes(" http://a/ , http://b:1/,https://[::1]").urls == ["http://a:6333", "http://b:1", "https://[::1]:6333"]
    assert Nodes("http://a/q/,https://b/q").urls == ["http://a:6333/q", "https://b:6333/q"]


def test_a_key_goes_to_no_node_unencrypted() -> None:
    for urls in ("https://a,http://b,https://c", "http://127.0.0.1,http://b"):
        with raises(UsageError, "QDRANT_API_KEY", "http://b:6333", hint="https"):
            ServerStore(urls, "secret")
    ServerStore("https://a,http://localhost,http://[::1]", "secret").close()


def test_threads_that_fail_at_the_same_node_move_on_once() -> None:
    nodes = Nodes("http://a,http://b,http://c")
    first = nodes.current
    assert [nodes.move_on(first) for _ in range(3)] == [True] * 3
    assert nodes.current == "http://b:6333"
    nodes.move_on("http://b:6333")
    nodes.move_on("http://c:6333")
    assert nodes.current == first
    assert not Nodes("http://a").move_on(first)


def test_it_stays_with_the_node_that_answers(nodes: tuple[Proxy, Proxy], filled: str) -> None:
    first, second = nodes
    with connected(f"{first.url},{second.url}") as store:
        for _ in range(3):
            assert len(store.query(filled, codes(1), 5)[0]) == 3
        assert (asked(first), second.seen) == (3, [])
        first.fail(QUERY, Refuse(503))
        for _ in range(3):
            assert len(store.query(filled, codes(1), 5)[0]) == 3
        assert (asked(first), asked(second)) == (1, 3), "the first is well again, and the second is not left for that"
        second.fail(QUERY, RESET)
        assert len(store.query(filled, codes(1), 5)[0]) == 3
        assert (asked(first), asked(second)) == (2, 1)


@pytest.mark.parametrize(
    "fault",
    [Refuse(500), Refuse(503), Refuse(408), Refuse(429), Refuse(429, {"Retry-After": "3600"}), LOSE, RESET],
    ids=str,
)
def test_another_node_is_asked_when_one_fails(nodes: tuple[Proxy, Proxy], fault: Fault) -> None:
    first, second = nodes
    with connected(f"{first.url},{second.url}") as store:
        known = store.aliases()
        first.fail("/aliases", fault)
        assert store.aliases() == known
        assert (first.seen, second.seen) == (["GET /aliases"], ["GET /aliases"])


def test_a_write_whose_answer_is_lost_is_done_again_by_another_node(nodes: tuple[Proxy, Proxy], filled: str) -> None:
    first, second = nodes
    with connected(f"{first.url},{second.url}") as store:
        store.count(filled)
        first.fail("/points", LOSE)
        store.upsert(filled, points(codes(4)))
        assert (asked(first, "/points"), asked(second, "/points")) == (1, 1)
        assert store.count(filled) == 4


def test_a_node_that_is_down_or_hangs_is_skipped(
    nodes: tuple[Proxy, Proxy], filled: str, closed: str, silent: str
) -> None:
    node = nodes[0]
    with connected(f"{closed},{silent},{node.url}", time_limits=FAIL_FAST) as store:
        assert len(store.query(filled, codes(1), 5)[0]) == 3
        assert store.count(filled) == 3
    assert node.seen[0] == "GET /"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422])
def test_errors_in_our_requests_are_not_sent_to_other_nodes(nodes: tuple[Proxy, Proxy], status: int) -> None:
    first, second = nodes
    with connected(f"{first.url},{second.url}") as store:
        store.aliases()
        first.fail("/aliases", *[Refuse(status, body=b'{"status": {"error": "Because."}}')] * 5)
        with raises(StoreError, first.url, status):
            store.aliases()
        assert (asked(first, "/aliases"), second.seen) == (1, [])


def test_when_none_answers_all_are_named(nodes: tuple[Proxy, Proxy], closed: str) -> None:
    urls = [closed, *(node.url for node in nodes)]
    with connected(",".join(urls), time_limits=SHORT) as store:
        known = store.aliases()
        for node in nodes:
            node.fail("", *[Refuse(503)] * 1000)
        with raises(StoreUnavailable, *urls, hint="QDRANT_URL"):
            store.aliases()
        assert all(len(node.seen) > 1 for node in nodes)
        for node in nodes:
            node.fail("")
        assert store.aliases() == known


def test_each_node_is_described(nodes: tuple[Proxy, Proxy], closed: str, silent: str) -> None:
    first, second = nodes
    with connected(",".join([first.url, closed, silent, second.url]), time_limits=SHORT) as store:
        store.aliases()
        second.fail("/cluster", Refuse(503))
        told = store.describe()["nodes"]
    assert list(told) == [first.url, closed, silent, second.url]
    assert {"version", "peer", "peers"} <= told[first.url].keys()
    for other in (closed, silent, second.url):
        assert told[other]["error"].startswith("does not answer ("), told
