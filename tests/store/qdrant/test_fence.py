"""Every try of every request that changes something is sent only while the job surely holds the lock."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retrieval.errors import Locked, StoreError
from retrieval.schema.index_config import Layout
from retrieval.schema.records import Point
from retrieval.store.base import Store
from retrieval.store.qdrant import lock as lock_module
from retrieval.store.qdrant import server
from retrieval.store.qdrant.connection import Connection, TimeLimits
from retrieval.store.qdrant.fence import find_change
from retrieval.store.qdrant.lock import AFTER_SECONDS, LEASE_SECONDS, LOCKS, Lock
from retrieval.store.qdrant.server import ServerStore
from tests.errors import mentions, raises
from tests.store.conftest import clean, codes, connected, meta, points
from tests.store.faults import PASS, Fault, Proxy, Refuse, proxy
from tests.store.locks import Clock, change_record, records, taken_over

WRITTEN = points(codes(5))
CHANGES: dict[str, Callable[[ServerStore, str], object]] = {
    "create": lambda store, name: store.create_collection(f"{name}-new", meta()),
    "upsert": lambda store, name: store.upsert(name, WRITTEN),
    "payload": lambda store, name: store.set_payload(name, {WRITTEN[0].id: {"source": "dogs"}}),
    "delete": lambda store, name: store.delete(name, [WRITTEN[0].id]),
    "metadata": lambda store, name: store.set_metadata(name, replace(meta(), sources={})),
    "rebuild": lambda store, name: store.rebuild_index(name, Layout(m=8)),
    "defer": lambda store, name: store.defer_indexing(name),
    "resume": lambda store, name: store.resume_indexing(name),
    "move": lambda store, name: store.move_alias(f"{name}-alias", f"{name}-spare"),
    "drop": lambda store, name: store.drop_collection(f"{name}-unused"),
}
READS: dict[str, Callable[[ServerStore, str], object]] = {
    "check": lambda store, name: store.check(),
    "collections": lambda store, name: store.collections(),
    "metadata": lambda store, name: store.metadata(name),
    "retrieve": lambda store, name: store.retrieve(name, [WRITTEN[0].id]),
    "scroll": lambda store, name: list(store.scroll(name)),
    "count": lambda store, name: store.count(name),
    "query": lambda store, name: store.query(name, codes(2), 1),
    "recommend": lambda store, name: store.recommend(name, codes(1), codes(1), 1),
    "diverse": lambda store, name: store.diverse(name, codes(1)[0], 1),
    "sample": lambda store, name: store.sample(name, 1),
    "facet": lambda store, name: store.facet(name, "label", 1),
    "health": lambda store, name: store.health(name),
    "describe": lambda store, name: store.describe(name),
}


@pytest.fixture
def connection(qdrant_url: str) -> Iterator[Connection]:
    """The connection of another job."""
    connection = Connection(qdrant_url, None, TimeLimits())
    yield connection
    connection.close()


@pytest.fixture
def between(qdrant_url: str) -> Iterator[Proxy]:
    with proxy(qdrant_url) as between:
        yield between


@pytest.fixture
def served(between: Proxy, qdrant_url: str, name: str) -> Iterator[ServerStore]:
    """A collection with five points and an alias, and two spare collections."""
    with connected(between.url) as store:
        for collection in (name, f"{name}-spare", f"{name}-unused"):
            store.create_collection(collection, meta())
        store.upsert(name, WRITTEN)
        store.move_alias(f"{name}-alias", name)
        yield store
    clean(qdrant_url)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(lock_module, "read_clock", clock)
    return clock


def changes_seen(between: Proxy) -> list[str]:
    """Requests that arrived and would have changed anything except locks."""
    found = [httpx.Request(*request.split(" ", 1)) for request in between.seen if LOCKS not in request]
    return [f"{r.method} {r.url.path}" for r in found if find_change(r)]


def test_nothing_is_changed_once_the_lock_is_lost(
    served: ServerStore, between: Proxy, connection: Connection, name: str, clock: Clock
) -> None:
    """All changes that a store can make, in a job that slept through its lease."""
    with served.lock(f"{name}-alias"):
        other = taken_over(connection, f"{name}-alias")
        clock.passed = LEASE_SECONDS
        between.fail("")
        for step in CHANGES.values():
            with raises(Locked, f"alias '{name}-alias'", served.location, "taken over", hint=""):
                step(served, name)
        assert changes_seen(between) == []
        for read in READS.values():
            read(served, name)
    other.renew()
    other.release()
    for step in CHANGES.values():  # the block is over, and each would have worked
        between.fail("")
        step(served, name)
        assert changes_seen(between)


def test_each_request_checks_the_lock(
    served: ServerStore, connection: Connection, name: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is lost after the first request of one call of `upsert`."""

    def split_points(written: list[Point], dim: int) -> Iterator[list[Point]]:
        yield written[:10]
        taken_over(connection, name)
        clock.passed = AFTER_SECONDS / 2 + 1
        yield written[10:]

    monkeypatch.setattr(server, "split_points", split_points)
    with served.lock(name), raises(Locked, name, "taken over", hint=""):
        served.upsert(name, points(codes(20)))
    assert served.count(name) == 10


def test_each_try_of_a_request_checks_the_lock(
    served: ServerStore, between: Proxy, connection: Connection, name: str, clock: Clock
) -> None:
    class Taking(list[Fault]):
        def pop(self, *_: object) -> Fault:
            self.clear()
            taken_over(connection, name)
            clock.passed = AFTER_SECONDS / 2 + 1
            return Refuse(503)

    with served.lock(name):
        between.fail(f"/{name}/points", PASS)
        between.faults = Taking([PASS])
        with raises(Locked, name, "taken over", hint=""):
            served.upsert(name, points(codes(20)))
    assert changes_seen(between) == [f"PUT /collections/{name}/points"]
    assert served.count(name) == 5


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(1, 120)), min_size=1, max_size=5))
def test_no_request_outlasts_the_limit(steps: list[tuple[int, int]]) -> None:
    """However long the job pauses between requests, and whatever their own time-outs."""
    passed, renewals, connection = 0.0, [0.0], Connection("http://127.0.0.1:1", None, TimeLimits())

    class Counted(Lock):
        def renew(self) -> None:
            self._renewed = passed
            renewals.append(passed)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lock_module, "read_clock", lambda: passed)
        lock = Counted(connection)
        lock._renewed, lock._names = 0.0, {"a": 1}
        for pause, timeout in steps:
            passed += pause
            with lock.fence(httpx.Request("PUT", "http://127.0.0.1/collections/a/points"), timeout) as seconds:
                assert 0 < seconds <= timeout
                assert passed + seconds <= renewals[-1] + AFTER_SECONDS
                assert seconds == timeout
    connection.close()


def test_the_limit_leaves_the_server_time_before_the_lease_ends() -> None:
    assert 2 * TimeLimits().job <= AFTER_SECONDS <= LEASE_SECONDS - 2 * TimeLimits().job


def test_a_request_gets_the_time_that_is_left(
    served: ServerStore, name: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Renewing takes so long that the time left for the write is less than its own time-out."""
    given: list[float] = []
    honest, timed = Lock.renew, httpx.Timeout

    def slowly(self: Lock) -> None:
        honest(self)
        clock.passed += AFTER_SECONDS - 10

    def note(timeout: float) -> httpx.Timeout:
        given.append(timeout)
        return timed(30)

    with served.lock(name):
        clock.passed = LEASE_SECONDS
        monkeypatch.setattr(Lock, "renew", slowly)
        monkeypatch.setattr("retrieval.store.qdrant.connection.httpx.Timeout", note)
        served.upsert(name, WRITTEN)
        monkeypatch.undo()
    assert 0 < given[-1] <= 10


def test_two_aliases_of_one_collection_exclude_each_other(store: Store, name: str, qdrant_url: str) -> None:
    store.create_collection(name, meta())
    for alias in (f"{name}-a", f"{name}-b"):
        store.move_alias(alias, name)
    with store.lock(f"{name}-a"):
        if store.engine == "embedded":  # whose folder belongs to one process
            return
        with connected(qdrant_url) as other:
            with raises(Locked, f"collection '{name}'", qdrant_url, "written", hint=""):
                other.lock(f"{name}-b").__enter__()
            with pytest.raises(Locked), other.lock(name):
                pass
    with connected(qdrant_url) as other, other.lock(f"{name}-b"):
        other.upsert(name, WRITTEN)


def test_other_jobs_cannot_change_a_collection_that_a_job_fills(
    served: ServerStore, qdrant_url: str, name: str
) -> None:
    """Others can neither drop it nor give it an alias, although no alias of the job points at it yet."""
    with served.lock(f"{name}-alias"), connected(qdrant_url) as other:
        served.create_collection(f"{name}-new", meta())
        with other.lock(f"{name}-other"):
            for step in (other.drop_collection, lambda it: other.move_alias(f"{name}-other", it)):
                with raises(Locked, f"collection '{name}-new'", qdrant_url, "written", hint=""):
                    step(f"{name}-new")
        served.upsert(f"{name}-new", WRITTEN)
    with connected(qdrant_url) as other, other.lock(f"{name}-other"):
        other.drop_collection(f"{name}-new")


def test_a_lock_inside_a_lock_joins_it(store: Store, name: str) -> None:
    store.create_collection(name, meta())
    with store.lock(f"{name}-alias") as held, store.lock(name) as inner, store.lock(f"{name}-alias"):
        assert inner.holder == held.holder
        store.upsert(name, WRITTEN)
    with store.lock(name):
        pass


@pytest.mark.parametrize("step", ["move", "drop", "delete"])
def test_requests_that_cannot_be_undone_check_the_lock_right_before(
    served: ServerStore, between: Proxy, connection: Connection, name: str, step: str
) -> None:
    """Even if the lock was renewed a moment ago."""
    with served.lock(f"{name}-alias") as held:
        held.check()
        taken_over(connection, f"{name}-alias")
        between.fail("")
        with raises(Locked, f"alias '{name}-alias'", served.location, "taken over", hint=""):
            CHANGES[step](served, name)
    assert changes_seen(between) == []
    assert served.aliases()[f"{name}-alias"] == name
    assert served.count(name) == 5
    assert served.count(f"{name}-unused") == 0


class TakenMeanwhile(list[Fault]):
    """The lock is taken over while the server carries out the request."""

    def __init__(self, connection: Connection, name: str) -> None:
        super().__init__([PASS])
        self._connection, self._name = connection, name

    def pop(self, *_: object) -> Fault:
        self.clear()
        taken_over(self._connection, self._name)
        return PASS


@pytest.mark.parametrize(
    ("step", "path", "sent"),
    [
        ("move", "/collections/aliases", "POST /collections/aliases"),
        ("drop", "/{0}-unused", "DELETE /collections/{0}-unused"),
        ("delete", "/delete", "POST /collections/{0}/points/delete"),
    ],
)
def test_requests_that_cannot_be_undone_check_the_lock_right_after(
    served: ServerStore, between: Proxy, connection: Connection, name: str, step: str, path: str, sent: str
) -> None:
    with served.lock(f"{name}-alias"), served.lock(f"{name}-spare"), served.lock(f"{name}-unused"):
        between.fail(path.format(name))
        between.faults = TakenMeanwhile(connection, f"{name}-alias")
        with raises(Locked, f"alias '{name}-alias'", "taken over", sent.format(name), hint="") as refusal:
            CHANGES[step](served, name)
    if step == "move":
        assert mentions(refusal.value.message, f"{name}-alias points at")


def test_an_alias_that_another_program_moves_at_the_same_moment(
    served: ServerStore, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = ServerStore.aliases
    monkeypatch.setattr(ServerStore, "aliases", lambda self: {**honest(self), f"{name}-alias": name})
    with raises(StoreError, f"{name}-alias", served.location, name, f"{name}-spare"):
        served.move_alias(f"{name}-alias", f"{name}-spare")


def test_a_worker_of_the_job_checks_the_lock_before_each_write(
    served: ServerStore, qdrant_url: str, connection: Connection, name: str
) -> None:
    """As Ray's workers do: on another machine, with the holder of the job's lock."""
    with served.lock(name) as held, connected(qdrant_url) as worker:
        worker.join_lock(name, held.holder)
        before = records(connection, name)[0]["token"]
        worker.upsert(name, WRITTEN)
        assert records(connection, name)[0]["token"] != before, "it renews the lock as well"
        with raises(Locked, f"'{name}-spare'", hint=""):
            worker.upsert(f"{name}-spare", WRITTEN)
    with connected(qdrant_url) as worker, raises(Locked, name, "taken over", "ended", hint=""):
        worker.join_lock(name, held.holder)
    with served.lock(name) as held, connected(qdrant_url) as worker:
        worker.join_lock(name, held.holder)
        worker.upsert(name, WRITTEN)
        change_record(connection, name, pid=2**22 + 1)  # the job is dead: on its own machine that is seen at once
        other = Lock(connection)
        other.take(name)
        with raises(Locked, name, "taken over", hint=""):
            worker.upsert(name, points(codes(7)))
    assert served.count(name) == 5
    other.release()
