"""Locks, stored in Qdrant itself: two jobs never write at the same time, whatever machines they run on.

Each name (of an alias or a collection) has one record, a point in the collection `retrieval-locks`. It is never
deleted: releasing a lock clears its holder, taking one increases its generation. A job takes a lock by replacing the
record only if it still has the token that the job read: Qdrant (from 1.16) compares and writes in one step.

Clocks of different machines are never compared. A holder measures its lease from before it renewed; a job that takes
over has seen the same record for the whole lease, by its own clock. See docs/decisions/0018-locks.md.
"""

import contextlib
import logging
import math
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeGuard

import httpx
from qdrant_client import models

from retrieval.errors import Locked, NoCollection, StoreError, StoreUnavailable
from retrieval.store.qdrant.connection import Connection, Guard
from retrieval.store.qdrant.fence import find_change
from retrieval.store.qdrant.index_config import count_peers
from retrieval.util.process import describe_process, is_dead, read_clock, this_process

LOCKS = "retrieval-locks"
AFTER_SECONDS = 120.0
"""A request is sent only if its time-out ends this soon after the lock was last renewed: no job writes for longer after
it lost its lock. Twice the time limit of one request."""
LEASE_SECONDS = 300.0
"""How long a job must see the same record before it takes over. The part beyond AFTER_SECONDS allows for requests that
timed out but that a busy server still carries out, and for clocks that run at different speeds."""
POLL_SECONDS = 1.0
AGREE_SECONDS = 10.0
"""How long replicas may differ about a record."""
FREE_SECONDS = 15.0
"""How long a free lock is tried again after another job was quicker."""
PAUSE_SECONDS = 0.02
REPLICAS = 3
"""On a cluster, two of three are a majority: one node may die, and no lock is lost or taken twice."""
ORDERED = models.WriteOrdering.MEDIUM
"""One peer orders the writes, another one if that is gone; STRONG would wait for it to come back."""
TRY_LATER = "try again when that is done"
LOG = logging.getLogger("retrieval")


class Lock:
    """All names that one job holds: its alias, the alias's collection, and every other collection that it changes.

    While it is the connection's guard, every request that changes something goes through `fence`.
    """

    def __init__(self, connection: Connection, holder: str | None = None) -> None:
        """holder: of a lock that another process has taken already."""
        self._connection = connection
        self._client, self._call, self._job = connection.client, connection.query, connection.job
        self.holder = holder or uuid.uuid4().hex
        self._names: dict[str, int] = {}
        """Held name → generation."""
        self._tried: set[str] = set()
        self._over: set[str] = set()
        """Holders that were watched for a whole lease; the other names that they hold have expired too."""
        self._renewed = -math.inf
        self._lost: Locked | None = None
        self._taking, self._renewing = threading.Lock(), threading.Lock()

    def take(self, name: str) -> None:
        """Hold one more name; does nothing if it is held already.

        A holder whose process is certainly dead is ignored. If the holder seems to have stopped renewing, its record is
        watched for a whole lease first. Raises Locked naming the holder.
        """
        with self._taking:
            if name not in self._names:
                self._take(name)

    def _take(self, name: str) -> None:
        self._check_not_lost()
        self._prepare()
        end = read_clock() + FREE_SECONDS
        while not self._take_once(name):
            if read_clock() >= end:
                raise Locked(
                    f"{self._describe_name(name)} is free, but its lock could not be taken for {FREE_SECONDS:.0f} s",
                    hint="try again; if it stays so, see whether all replicas are active: retrieval doctor",
                )
            time.sleep(PAUSE_SECONDS)

    def _take_once(self, name: str) -> bool:
        """Replace the record that was read; False if the stored one is another by now, and free.

        Then another job came and went, or the record was read from a replica that lagged behind.
        """
        found = self._read([name]).get(name)
        if is_held(found) and found["holder"] not in (self.holder, *self._over) and not is_dead(found):
            found = self._watch(name, found)
        started = read_clock()
        record = {
            **this_process(),
            "alias": name,
            "for": next(iter(self._names), name),
            "holder": self.holder,
            "token": uuid.uuid4().hex,
            "generation": 1 + int(found.get("generation", 0)) if found else 1,
            "lease": LEASE_SECONDS,
            "expires": time.time() + LEASE_SECONDS,
        }
        unchanged = models.Filter(must=[has_value("token", found["token"] if found else record["token"])])
        point = models.PointStruct(id=lock_id(name), vector=[0.0], payload=record)
        self._tried.add(name)
        self._call(self._client.upsert, LOCKS, [point], wait=True, ordering=ORDERED, update_filter=unchanged)
        stored = self._read([name]).get(name)
        if not is_held(stored):
            return False
        if stored["holder"] != self.holder:
            raise self._busy_error(name, stored)
        if not self._names:
            self._renewed = started
        self._names[name] = stored["generation"]
        return True

    def check(self) -> None:
        """Raise Locked if another job has taken over."""
        self.keep(AFTER_SECONDS / 2)

    def keep(self, seconds: float) -> float:
        """Seconds that a request sent now may take, at most `seconds`; renews the lock first if too few are left.

        Raises Locked if the lock is lost, StoreUnavailable if the server does not confirm it in time.
        """
        if self._lost or self._seconds_left() < seconds:
            self.renew()
        left = self._seconds_left()
        if left <= 0:
            raise StoreUnavailable(f"{self._connection.location} took {AFTER_SECONDS - left:.0f} s to renew a lock")
        return min(left, seconds)

    def renew(self) -> None:
        """Extend the lease; raises as `verify`. Does not recreate a record that is gone."""
        with self._renewing:
            self._check_not_lost()
            started = read_clock()
            fresh = {"token": uuid.uuid4().hex, "expires": time.time() + LEASE_SECONDS}
            self._write(fresh, [*self._names])
            self.verify()
            self._renewed = started

    def verify(self) -> None:
        """Read the records of all held names.

        Raises Locked, now and at every later call, if one is not this job's; StoreUnavailable if the server does not
        answer.
        """
        self._check_not_lost()
        names = dict(self._names)
        found = self._read(names)
        reasons = (self._why_lost(name, generation, found.get(name)) for name, generation in names.items())
        self._lost = next(filter(None, reasons), None)
        self._check_not_lost()

    @contextlib.contextmanager
    def fence(self, request: httpx.Request, timeout: float) -> Iterator[float]:
        """Wraps each try of each request of the job, in any thread: see `Guard`.

        Takes the lock of what the request changes, and makes sure that it is held until the request's time-out. Reads
        the record before and after a request that cannot be undone; Locked then says that the request was sent.
        """
        what = find_change(request)
        if what is None or what.collection == LOCKS:
            yield timeout
            return
        if what.collection is not None:
            self.take(what.collection)
        if what.final:
            self.renew()
        yield self.keep(timeout)
        if what.final:
            try:
                self.verify()
            except Locked as error:
                sent = f"its last request ({what.words}) had been sent before"
                raise Locked(f"{error.message}; {sent}", hint=error.hint) from error

    def release(self) -> None:
        """Clear the holder of this job's records; if the server does not answer, they expire."""
        if self._tried:
            with contextlib.suppress(StoreError):
                self._write({"holder": "", "token": uuid.uuid4().hex, "expires": 0.0}, self._tried)

    def _why_lost(self, name: str, generation: int, record: Mapping[str, Any] | None) -> Locked | None:
        """None for a record that is this job's; generation: 0 if another process took the lock."""
        if record is None:
            return Locked(
                f"the lock of {self._describe_name(name)} no longer exists",
                hint=f"find out what deletes records in {LOCKS}",
            )
        if record["holder"] == self.holder and generation in (0, record["generation"]):
            return None
        by = describe_process(record) + ("" if is_held(record) else ", which has ended since")
        return Locked(
            f"{self._describe_name(name)} was taken over by {by}, while this job was stopped or cut off", hint=TRY_LATER
        )

    def _seconds_left(self) -> float:
        """Seconds left to write; another job takes over LEASE_SECONDS - AFTER_SECONDS after them at the earliest."""
        return self._renewed + AFTER_SECONDS - read_clock()

    def _check_not_lost(self) -> None:
        if self._lost:
            raise Locked(self._lost.message, hint=self._lost.hint)

    def _watch(self, name: str, found: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The record to replace: one that did not change for a whole lease, or that was released meanwhile.

        Raises Locked at once if the holder has renewed it lately according to the clocks, which may be wrong, and
        later as soon as the holder renews it.
        """
        if time.time() < float(found["expires"]):
            raise self._busy_error(name, found)
        lease = float(found.get("lease", LEASE_SECONDS))
        who = f"{self._describe_name(name)} is held by {describe_process(found)}, which has stopped renewing its lock"
        LOG.error(f"{who}; taking over its lock unless it renews within {lease:.0f} s")
        end = read_clock() + lease
        while True:
            time.sleep(max(0.0, min(POLL_SECONDS, end - read_clock())))
            asked, seen = read_clock(), self._read([name]).get(name)
            if not is_held(seen):
                return seen
            if seen["token"] != found["token"]:
                raise self._busy_error(name, seen)
            if asked >= end:
                self._over.add(seen["holder"])
                return seen

    def _busy_error(self, name: str, record: Mapping[str, Any]) -> Locked:
        return Locked(f"{self._describe_name(name)} is being written by {describe_process(record)}", hint=TRY_LATER)

    def _describe_name(self, name: str) -> str:
        kind = "alias" if name == next(iter(self._names), name) else "collection"
        return f"{kind} {name!r} at {self._connection.location}"

    def _write(self, fields: Mapping[str, Any], names: Iterable[str]) -> None:
        """Change this job's records among those of the names; others stay as they are."""
        ids: list[int | str | uuid.UUID] = [lock_id(name) for name in names]
        ours = models.Filter(must=[models.HasIdCondition(has_id=ids), has_value("holder", self.holder)])
        with contextlib.suppress(NoCollection):
            self._call(self._client.set_payload, LOCKS, dict(fields), ours, wait=True, ordering=ORDERED)

    def _read(self, names: Iterable[str]) -> Mapping[str, Mapping[str, Any]]:
        """Name → record, without names that have none.

        A quorum leaves out a record on which its replicas differ, as they do during a write and while a node that was
        away catches up. So a record that is missing there and found on a single replica is waited for.
        """
        ids = {lock_id(name) for name in names}
        end = read_clock() + AGREE_SECONDS
        while True:
            found = self._retrieve(
                ids, models.ReadConsistencyType.QUORUM
            )  # not MAJORITY: it fails while a dead peer counts
            missing = ids - {lock_id(name) for name in found}
            if not missing or read_clock() >= end or not self._retrieve(missing):
                return found
            time.sleep(PAUSE_SECONDS)

    def _retrieve(
        self, ids: Iterable[str], consistency: models.ReadConsistencyType | None = None
    ) -> Mapping[str, Mapping[str, Any]]:
        try:
            found = self._call(self._client.retrieve, LOCKS, [*ids], with_payload=True, consistency=consistency)
        except NoCollection:
            return {}
        return {record.payload["alias"]: record.payload for record in found if record.payload}

    def _prepare(self) -> None:
        """Create the collection if it is missing; another job may do so at the same time."""
        if self._tried:
            return
        if self._job(self._client.collection_exists, LOCKS):
            return
        space = models.VectorParams(size=1, distance=models.Distance.EUCLID)
        try:
            self._job(
                self._client.create_collection,
                LOCKS,
                space,
                shard_number=1,
                **lock_replication(count_peers(self._connection)),
            )
        except StoreError:
            if not self._job(self._client.collection_exists, LOCKS):
                raise
        for field in ("holder", "token"):
            self._job(self._client.create_payload_index, LOCKS, field, models.PayloadSchemaType.KEYWORD, wait=True)


def lock_replication(number: int) -> dict[str, Any]:
    """Replicas of the lock collection on that many peers, and how many of them must confirm a write.

    >>> lock_replication(2), lock_replication(5)["write_consistency_factor"]
    ({'replication_factor': 2, 'write_consistency_factor': 1}, 2)
    """
    copies = min(REPLICAS, number)
    return {"replication_factor": copies, "write_consistency_factor": (copies + 1) // 2}


def lock_id(name: str) -> str:
    """Point id of a name's record."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{LOCKS}/{name}"))


def has_value(field: str, value: str) -> models.FieldCondition:
    """The condition that a field has that value."""
    return models.FieldCondition(key=field, match=models.MatchValue(value=value))


def is_held(record: Mapping[str, Any] | None) -> TypeGuard[Mapping[str, Any]]:
    """Whether a job holds the lock, alive or not."""
    return bool(record and record["holder"])


def is_silent(record: Mapping[str, Any]) -> bool:
    """Whether the holder is dead, or did not renew for a lease by this machine's clock, which may be wrong."""
    return float(record["expires"]) < time.time() or is_dead(record)


class JoinedLock(Lock):
    """The lock of another process of the same job, perhaps on another machine; any of them may renew it.

    If that process dies, other jobs on its machine may take the lock at once. So the record is read before each write.
    """

    def take(self, name: str) -> None:
        """Raise Locked unless the job holds the name."""
        if name not in self._names:
            self._names[name] = 0
            self.verify()

    def check(self) -> None:
        """Raise Locked if the job has lost the lock, or has ended."""
        self.verify()

    def keep(self, seconds: float) -> float:
        """As `Lock.keep`, after reading the record."""
        self.verify()
        return super().keep(seconds)


@contextlib.contextmanager
def hold(connection: Connection, name: str, aliases: Callable[[], Mapping[str, str]]) -> Iterator[Guard]:
    """Hold a name, and the collection if it is an alias, while the block runs; a thread renews the lock.

    Inside another such block it joins that block's lock and lasts as long. Raises Locked if another job holds it.
    """
    if outer := connection.guard:
        take(outer, name, aliases)
        yield outer
        return
    lock, over = Lock(connection), threading.Event()

    def renew() -> None:
        while not over.wait(AFTER_SECONDS / 3):
            with contextlib.suppress(StoreError):  # the next request raises it, if it still matters then
                lock.renew()

    thread = threading.Thread(target=renew, name=f"lock {name}", daemon=True)
    try:
        lock.take(name)  # inside `try`: Ctrl-C may come after the server has stored it
        thread.start()
        connection.guard = lock
        take(lock, name, aliases)
        yield lock
    finally:
        connection.guard = None
        over.set()
        if thread.ident:
            thread.join()
        lock.release()


def take(lock: Guard, name: str, aliases: Callable[[], Mapping[str, str]]) -> None:
    """Take a name and its collection, so that two aliases of one collection exclude each other."""
    lock.take(name)
    if (collection := aliases().get(name)) is not None:
        lock.take(collection)
