"""One lock per alias: a single holder, which notices if it has lost the lock; free again if the holder is dead."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retrieval.errors import Locked
from retrieval.schema.records import codes_of
from retrieval.store.base import Store
from retrieval.store.edge import catalog
from retrieval.store.edge.engine import EdgeStore
from retrieval.store.edge.shard import Shard
from retrieval.store.qdrant import lock as lock_module
from retrieval.store.qdrant.connection import Connection, TimeLimits
from retrieval.store.qdrant.lock import LOCKS, Lock
from retrieval.util import process
from tests.errors import mentions, raises
from tests.store import servers
from tests.store.conftest import ENGINES, codes, connected, meta, points
from tests.store.faults import LOSE, PASS, Refuse, proxy
from tests.store.folders import line, python
from tests.store.locks import alias_is, change_record, forget_fields, records

RACERS = 50
SECONDS = 60
HOLD = """
import sys
from retrieval.errors import Locked
from retrieval.store.qdrant import lock
from retrieval.store.qdrant.server import ServerStore
url, alias, lease = sys.argv[1:]
lock.LEASE_SECONDS, lock.AFTER_SECONDS = float(lease), float(lease) * 0.4
with ServerStore(url).lock(alias) as held:
    print("holding", flush=True)
    for _ in sys.stdin:
        try:
            held.check()
            print("still holding", flush=True)
        except Locked as error:
            print(error, flush=True)
"""


@pytest.fixture
def connection(qdrant_url: str) -> Iterator[Connection]:
    connection = Connection(qdrant_url, None, TimeLimits())
    yield connection
    connection.close()


def winners(connection: Connection, alias: str) -> list[Lock]:
    """Fifty jobs take one alias at the same moment; returns the locks of those that succeed."""
    start = threading.Barrier(RACERS)

    def race(_: int) -> Lock | None:
        lock = Lock(connection)
        start.wait(SECONDS)
        try:
            lock.take(alias)
        except Locked:
            return None
        return lock

    with ThreadPoolExecutor(RACERS) as pool:
        return [lock for lock in pool.map(race, range(RACERS)) if lock]


def taken_elsewhere(connection: Connection, alias: str, monkeypatch: pytest.MonkeyPatch, lease: float = 0.5) -> Lock:
    """A lock whose holder, on another machine, does not renew it; by that machine's clock it expired long ago."""
    lock = Lock(connection)
    with monkeypatch.context() as patch:
        patch.setattr(lock_module, "LEASE_SECONDS", lease)
        patch.setattr(process, "pid_scope", lambda: "elsewhere")
        lock.take(alias)
    change_record(connection, alias, expires=0.0)
    return lock


def test_both_engines_give_a_lock_that_can_be_taken_again(store: Store, name: str) -> None:
    for _ in range(2):
        with store.lock(name) as held:
            held.check()
    assert LOCKS not in store.collections()
    assert store.aliases().get(name) is None
    store.check()


def test_one_of_fifty_gets_a_lock_that_is_free(connection: Connection, name: str) -> None:
    for _ in range(3):
        (only,) = winners(connection, name)
        only.check()
        only.release()


def test_a_free_lock_is_taken_though_another_job_came_and_went(
    connection: Connection, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or though a replica that lags behind gave no record, or an old one."""
    lock, read = Lock(connection), Lock._read
    late = [None, None]

    def read_too_early(self: Lock, names: Iterable[str]) -> Mapping[str, Mapping[str, Any]]:
        found = read(self, names)
        if self is lock and late:
            late.pop()
            other = Lock(connection)
            other.take(name)
            other.release()
        return found

    monkeypatch.setattr(Lock, "_read", read_too_early)
    lock.take(name)
    (record,) = records(connection, name)
    assert (record["holder"], record["generation"]) == (lock.holder, 3)
    lock.verify()
    with raises(Locked, "being written", hint="try again"):
        Lock(connection).take(name)
    lock.release()


def test_one_of_fifty_takes_over_from_a_holder_that_stopped_renewing(
    connection: Connection, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = taken_elsewhere(connection, name, monkeypatch)
    (only,) = winners(connection, name)
    for _ in range(2):
        with raises(Locked, f"alias '{name}'", connection.location, "taken over", f"pid {os.getpid()}", hint=""):
            lost.renew()
    with raises(Locked, f"alias '{name}'", "taken over", hint=""):
        lost.check()
    lost.release()
    only.renew()
    only.release()


def test_a_lock_that_was_taken_over_and_released_is_lost(
    connection: Connection, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = taken_elsewhere(connection, name, monkeypatch)
    other = Lock(connection)
    other.take(name)
    other.release()
    for _ in range(2):
        with raises(Locked, f"alias '{name}'", connection.location, "taken over", "ended", hint=""):
            lost.renew()
    assert [record["holder"] for record in records(connection, name)] == [""]
    Lock(connection).take(name)


def test_a_lock_whose_record_is_gone_is_lost_and_not_recreated(connection: Connection, name: str) -> None:
    lock = Lock(connection)
    lock.take(name)
    connection.job(connection.client.delete, LOCKS, alias_is(name))
    for _ in range(2):
        with raises(Locked, f"alias '{name}'", connection.location, "exists", hint=LOCKS):
            lock.renew()
    assert records(connection, name) == []


def test_a_generation_only_grows(connection: Connection, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    for _ in range(3):
        lock = Lock(connection)
        lock.take(name)
        lock.renew()
        lock.release()
        seen += [(record["generation"], record["holder"]) for record in records(connection, name)]
    assert seen == [(1, ""), (2, ""), (3, "")]
    taken_elsewhere(connection, name, monkeypatch)
    Lock(connection).take(name)
    assert [record["generation"] for record in records(connection, name)] == [5]


@pytest.mark.parametrize("hours", [-5, 5])
def test_a_wrong_clock_does_not_take_over_a_lock(
    connection: Connection, name: str, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder that renews its lock keeps it, whatever its clock and ours say."""
    lock, over = Lock(connection), threading.Event()
    with monkeypatch.context() as patch:
        patch.setattr(lock_module, "LEASE_SECONDS", 2.0)
        patch.setattr(process, "pid_scope", lambda: "elsewhere")
        lock.take(name)
    change_record(connection, name, expires=time.time() + hours * 3600)

    def renew() -> None:
        while not over.wait(0.2):
            lock.renew()
            change_record(connection, name, expires=time.time() + hours * 3600)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(renew)
        try:
            for _ in range(2):
                with raises(Locked, f"alias '{name}'", "written", hint=""):
                    Lock(connection).take(name)
        finally:
            over.set()
    lock.renew()
    lock.release()


def test_a_holder_that_did_not_renew_but_was_not_replaced_keeps_the_lock(
    connection: Connection, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = taken_elsewhere(connection, name, monkeypatch, lease=300)
    silent.renew()
    with raises(Locked, f"alias '{name}'", "written", hint=""):
        Lock(connection).take(name)
    silent.release()


def test_a_record_of_an_older_version_is_understood(
    connection: Connection, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no generation, lease or start time of its process, and is deleted on release."""
    monkeypatch.setattr(lock_module, "LEASE_SECONDS", 0.5)
    taken_elsewhere(connection, name, monkeypatch)
    forget_fields(connection, name, "generation", "lease", "process_started", "for")
    mine = Lock(connection)
    mine.take(name)
    assert [record["generation"] for record in records(connection, name)] == [1]
    change_record(connection, name, holder="of an older version", token="another")
    forget_fields(connection, name, "generation", "lease", "process_started", "for")
    with raises(Locked, f"alias '{name}'", "taken over", hint=""):
        mine.renew()
    with raises(Locked, f"alias '{name}'", "written", f"pid {os.getpid()}", hint=""):
        Lock(connection).take(name)
    with python("", "") as dead:
        dead.wait(timeout=SECONDS)
    change_record(connection, name, pid=dead.pid)
    Lock(connection).take(name)


def test_an_older_version_can_take_a_released_lock(connection: Connection, name: str) -> None:
    lock = Lock(connection)
    lock.take(name)
    lock.release()
    (record,) = records(connection, name)
    assert float(record["expires"]) < time.time(), "by that it judges"
    assert {"holder", "token", "place", "pid", "command", "host", "since"} <= record.keys(), "these it reads"


def test_another_process_is_named_and_releases_its_lock_at_its_end(qdrant_url: str, name: str) -> None:
    with connected(qdrant_url) as store, python(HOLD, qdrant_url, name, "300") as other:
        assert line(other) == "holding"
        for _ in range(2):
            with raises(Locked, f"alias '{name}'", "-c", f"pid {other.pid}", "since", hint="") as refusal:
                store.lock(name).__enter__()
        assert refusal.value.exit_code == 4
        with store.lock(f"{name}-other"):
            assert ask(other) == "still holding"
        other.communicate("", timeout=SECONDS)
        with store.lock(name) as held:
            held.check()


def test_a_holder_that_was_killed_is_not_waited_for(qdrant_url: str, name: str) -> None:
    with connected(qdrant_url) as store, python(HOLD, qdrant_url, name, "300") as other:
        assert line(other) == "holding"
        other.kill()
        other.wait(timeout=SECONDS)
        with store.lock(name) as held:
            held.check()


def test_a_process_of_another_machine_does_not_count_as_dead(
    qdrant_url: str, connection: Connection, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with python("", "") as dead:
        dead.wait(timeout=SECONDS)
    elsewhere = Lock(connection)
    with monkeypatch.context() as patch:
        patch.setattr(process, "pid_scope", lambda: "elsewhere")
        patch.setattr(os, "getpid", lambda: dead.pid)
        elsewhere.take(name)
    with raises(Locked, f"pid {dead.pid}", hint=""):
        Lock(connection).take(name)
    elsewhere.release()


def test_a_process_id_that_is_used_again_is_not_the_holder(connection: Connection, name: str) -> None:
    Lock(connection).take(name)
    (record,) = records(connection, name)
    with raises(Locked, f"pid {os.getpid()}", hint=""):
        Lock(connection).take(name)
    change_record(connection, name, process_started=record["process_started"] - 1)
    Lock(connection).take(name)


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_holder_that_is_stopped_for_too_long_finds_out(qdrant_url: str, connection: Connection, name: str) -> None:
    with python(HOLD, qdrant_url, name, "1") as other:
        assert line(other) == "holding"
        other.send_signal(signal.SIGSTOP)
        mine = Lock(connection)
        until(lambda: taken(mine, name))
        other.send_signal(signal.SIGCONT)
        said = ask(other)
        assert [part for part in (f"alias '{name}'", qdrant_url, "taken over") if not mentions(said, part)] == []
        other.communicate("", timeout=SECONDS)  # its release must leave ours alone
        with raises(Locked, f"pid {os.getpid()}", hint=""):
            Lock(connection).take(name)
        mine.release()


def test_a_thread_renews_the_lock(qdrant_url: str, connection: Connection, name: str) -> None:
    with python(HOLD, qdrant_url, name, "5") as other:
        assert line(other) == "holding"
        (first,) = records(connection, name)
        until(lambda: records(connection, name)[0]["expires"] > first["expires"])
        assert ask(other) == "still holding"


def test_lost_answers_and_passing_refusals_do_no_harm(qdrant_url: str, name: str) -> None:
    with proxy(qdrant_url) as faulty, connected(faulty.url) as store:
        faulty.fail("/points", PASS, PASS, LOSE, Refuse(503), LOSE)  # the first two only look who is there
        with store.lock(name) as held:
            assert faulty.seen.count(f"PUT /collections/{LOCKS}/points") == 4
            assert isinstance(held, Lock)
            faulty.fail("/points/payload", LOSE, Refuse(429), LOSE)
            held.renew()
            assert faulty.seen.count(f"POST /collections/{LOCKS}/points/payload") == 4
            held.check()
            faulty.fail("/points/payload", LOSE)
        with store.lock(name):
            pass


def test_many_jobs_may_take_the_first_lock_of_a_server_at_once(qdrant_binary: Path, tmp_path: Path) -> None:
    with servers.running(tmp_path) as url:
        connection = Connection(url, None, TimeLimits())
        assert len(winners(connection, "images")) == 1
        connection.close()


def test_threads_open_an_embedded_collection_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []

    class Slow(Shard):
        def __init__(self, folder: Path) -> None:
            opened.append(folder)
            time.sleep(0.1)
            super().__init__(folder)

    monkeypatch.setattr(catalog, "Shard", Slow)
    with closing(EdgeStore(root)) as store, ThreadPoolExecutor(8) as pool:
        assert set(pool.map(store.count, ["a"] * 8)) == {2000}
    assert len(opened) == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_threads_read_what_others_write(open_engine: Callable[[str], Store], engine: str, name: str) -> None:
    """An Edge shard may be used, and closed, by another thread than the one that opened it."""
    store = open_engine(engine)
    store.create_collection(name, meta())
    written, over = points(codes(4000)), threading.Event()

    def read() -> int:
        rounds, least = 0, 0
        while not over.is_set() or not rounds:
            found = [point for page in store.scroll(name, codes=True, page=500) for point in page]
            assert len({point.id for point in found}) == len(found) >= least
            assert len(store.query(name, codes(3), 5)) == 3
            assert store.retrieve(name, [p.id for p in found[:3]]).keys() == {p.id for p in found[:3]}
            least = store.count(name)
            rounds += 1
        return least

    def write(start: int) -> None:
        store.upsert(name, written[start : start + 250])

    with ThreadPoolExecutor(8) as pool:
        readers = [pool.submit(read) for _ in range(6)]
        try:
            for _ in pool.map(write, range(0, 4000, 250)):  # two at once
                pass
            store.delete(name, [])
        finally:
            over.set()
        for reader in readers:
            assert 0 <= reader.result(SECONDS) <= 4000
        assert store.count(name) == 4000
        pool.submit(store.close).result(SECONDS)
    with closing(open_engine(engine)) as again:
        found = again.retrieve(name, [p.id for p in written], codes=True)
    assert np.array_equal(codes_of([found[p.id] for p in written]), codes(4000))
    assert len(found) == 4000


def test_a_folder_closed_by_another_thread_is_free(root: Path) -> None:
    store = EdgeStore(root)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(store.close).result(SECONDS)
    EdgeStore(root, lock_seconds=0.1).close()


def ask(process: "subprocess.Popen[str]") -> str:
    """Let the holder check its lock; returns its output."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return line(process)


def taken(lock: Lock, name: str) -> bool:
    try:
        lock.take(name)
    except Locked:
        return False
    return True


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
