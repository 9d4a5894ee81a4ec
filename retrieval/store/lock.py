"""Locks, kept in Qdrant itself: two jobs that write never meet, whatever machines they run on.

Each name (of an alias or of a collection) has one record, a point in the collection `retrieval-locks`. It is never
deleted: who lets it go writes down that nobody has it, and who takes it adds one to its generation. To take is to
replace the record only where it still bears the token that was read: Qdrant (from 1.16) looks and writes in one step,
one operation after the other.

No clock of one machine is compared with that of another. A holder counts from before it renewed; who wants to take
over has seen the very same record for the whole lease, on a clock of its own. See docs/decisions/0018-locks.md.
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
from retrieval.process import in_words, is_dead, now, this_process
from retrieval.store.connection import Connection, Guard
from retrieval.store.fence import find_change
from retrieval.store.server_layout import count_peers

LOCKS = "retrieval-locks"
AFTER_SECONDS = 120.0
"""How long a job may still write after its lock is gone, whatever took it away: a request is sent only when its
time-out ends so soon after the lock was last renewed. Twice as long as one request may take."""
LEASE_SECONDS = 300.0
"""How long the same record must have been seen by who takes over. What exceeds AFTER_SECONDS is for requests that
nobody waits for any more, which a busy server may still carry out, and for clocks that run at different speeds."""
POLL_SECONDS = 1.0
REPLICAS = 3
"""On a cluster, where two of them make a majority: one node may die, and no lock is lost or taken twice."""
ORDERED = models.WriteOrdering.MEDIUM
"""One peer orders the writes, another when that one is gone; STRONG would wait for it to come back."""
LOG = logging.getLogger("retrieval")


class Lock:
    """All that one job holds: its alias, the collection that this names, and whatever else it comes to change.

    While it is the connection's guard, every request that changes something passes `fence`.
    """

    def __init__(self, connection: Connection, holder: str | None = None) -> None:
        """holder: of a lock that was taken already."""
        self._connection = connection
        self._client, self._call, self._job = connection.client, connection.query, connection.job
        self.holder = holder or uuid.uuid4().hex
        self._names: dict[str, int] = {}
        """Name → generation, of what is held."""
        self._tried: set[str] = set()
        self._over: set[str] = set()
        """Holders that were watched for a lease: whatever else they hold, they renewed it no later."""
        self._renewed, self._lost = -math.inf, ""
        self._taking, self._renewing = threading.Lock(), threading.Lock()

    def take(self, name: str) -> None:
        """Hold one more name; nothing is done for one that is held.

        One whose process is certainly dead does not count. Where the clocks say that the holder has fallen silent, its
        record is watched for a whole lease. Raises Locked naming the holder.
        """
        with self._taking:
            if name not in self._names:
                self._take(name)

    def _take(self, name: str) -> None:
        self._check_not_lost()
        self._prepare()
        found = self._read([name]).get(name)
        if is_held(found) and found["holder"] not in (self.holder, *self._over) and not is_dead(found):
            found = self._watch(name, found)
        begun = now()
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
        point = models.PointStruct(id=point_of(name), vector=[0.0], payload=record)
        self._tried.add(name)
        self._call(self._client.upsert, LOCKS, [point], wait=True, ordering=ORDERED, update_filter=unchanged)
        stored = self._read([name]).get(name)
        if not is_held(stored):
            raise Locked(f"{self._where(name)}: another job was quicker, and has finished since; try again")
        if stored["holder"] != self.holder:
            raise self._busy(name, stored)
        if not self._names:
            self._renewed = begun
        self._names[name] = record["generation"]

    def check(self) -> None:
        """Raise Locked when another job has taken over."""
        self.keep(AFTER_SECONDS / 2)

    def keep(self, seconds: float) -> float:
        """How long a request that is sent now may take, `seconds` at most; the lock is renewed when that is too short.

        Raises Locked when the lock is lost, StoreUnavailable when the server does not say in time that it is ours.
        """
        if self._lost or self._seconds_left() < seconds:
            self.renew()
        left = self._seconds_left()
        if left <= 0:
            raise StoreUnavailable(f"{self._connection.location} took {AFTER_SECONDS - left:.0f} s to renew a lock")
        return min(left, seconds)

    def renew(self) -> None:
        """Put the end off; raises as `look`. A record that is gone is not made again."""
        with self._renewing:
            self._check_not_lost()
            begun = now()
            fresh = {"token": uuid.uuid4().hex, "expires": time.time() + LEASE_SECONDS}
            self._write(fresh, [*self._names])
            self.look()
            self._renewed = begun

    def look(self) -> None:
        """Read what is there; raises Locked, from then on always, unless all of it is ours.

        StoreUnavailable when the server does not answer.
        """
        self._check_not_lost()
        names = dict(self._names)
        found = self._read(names)
        reasons = (self._why_lost(name, generation, found.get(name)) for name, generation in names.items())
        self._lost = next(filter(None, reasons), "")
        self._check_not_lost()

    @contextlib.contextmanager
    def fence(self, request: httpx.Request, timeout: float) -> Iterator[float]:
        """Around each try of each request of the job, in whatever thread: see `Guard`.

        What it changes is held from now on, and surely so until the time-out. Around one that cannot be undone the
        record is read: before, and after; what raises Locked then says that the server has done it.
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
                self.look()
            except Locked as error:
                raise Locked(f"{error}; its last request ({what.words}) had been sent before") from error

    def release(self) -> None:
        """Write down that nobody has what is ours; where the server does not answer, it ends by itself."""
        if self._tried:
            with contextlib.suppress(StoreError):
                self._write({"holder": "", "token": uuid.uuid4().hex, "expires": 0.0}, self._tried)

    def _why_lost(self, name: str, generation: int, record: Mapping[str, Any] | None) -> str:
        """Empty for a record that is ours; generation: 0 where another process took it."""
        if record is None:
            return f"the lock of {self._where(name)} is not there any more: who deletes records in {LOCKS}?"
        if record["holder"] == self.holder and generation in (0, record["generation"]):
            return ""
        since = "" if is_held(record) else ", which has ended since"
        return (
            f"{self._where(name)} was taken over by {in_words(record)}{since}, while this job was stopped or cut off;"
            " try again when that is done"
        )

    def _seconds_left(self) -> float:
        """Seconds for which it is sure that nobody takes over, less what AFTER_SECONDS falls short of the lease."""
        return self._renewed + AFTER_SECONDS - now()

    def _check_not_lost(self) -> None:
        if self._lost:
            raise Locked(self._lost)

    def _watch(self, name: str, found: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The record that may be replaced: one that a whole lease has not changed, or that was given back meanwhile.

        Raises Locked at once when the holder has renewed it lately as the clocks tell, which is a hint and no more, or
        as soon as it does.
        """
        if time.time() < float(found["expires"]):
            raise self._busy(name, found)
        lease = float(found.get("lease", LEASE_SECONDS))
        who = f"{self._where(name)} is held by {in_words(found)}, which has fallen silent"
        LOG.error(f"{who}; waiting {lease:.0f} s for a sign of it before its lock is taken over")
        end = now() + lease
        while True:
            time.sleep(max(0.0, min(POLL_SECONDS, end - now())))
            asked, seen = now(), self._read([name]).get(name)
            if not is_held(seen):
                return seen
            if seen["token"] != found["token"]:
                raise self._busy(name, seen)
            if asked >= end:
                self._over.add(seen["holder"])
                return seen

    def _busy(self, name: str, record: Mapping[str, Any]) -> Locked:
        return Locked(f"{self._where(name)} is being written by {in_words(record)}; try again when that is done")

    def _where(self, name: str) -> str:
        kind = "alias" if name == next(iter(self._names), name) else "collection"
        return f"{kind} {name!r} at {self._connection.location}"

    def _write(self, fields: Mapping[str, Any], names: Iterable[str]) -> None:
        """Change the records that are ours; one that is not, or not there, stays as it is."""
        ids: list[int | str | uuid.UUID] = [point_of(name) for name in names]
        ours = models.Filter(must=[models.HasIdCondition(has_id=ids), has_value("holder", self.holder)])
        with contextlib.suppress(NoCollection):
            self._call(self._client.set_payload, LOCKS, dict(fields), ours, wait=True, ordering=ORDERED)

    def _read(self, names: Iterable[str]) -> Mapping[str, Mapping[str, Any]]:
        """Name → record, of those that are there."""
        quorum = models.ReadConsistencyType.QUORUM  # MAJORITY fails while a dead peer still counts as active
        ids = [point_of(name) for name in names]
        try:
            found = self._call(self._client.retrieve, LOCKS, ids, with_payload=True, consistency=quorum)
        except NoCollection:
            return {}
        return {record.payload["alias"]: record.payload for record in found if record.payload}

    def _prepare(self) -> None:
        """Make the collection where it is missing; somebody else may be doing so at the same time."""
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
                **replication(count_peers(self._connection)),
            )
        except StoreError:
            if not self._job(self._client.collection_exists, LOCKS):
                raise
        for field in ("holder", "token"):
            self._job(self._client.create_payload_index, LOCKS, field, models.PayloadSchemaType.KEYWORD, wait=True)


def replication(number: int) -> dict[str, Any]:
    """Copies of the locks on so many peers, and how many of them a write takes.

    >>> replication(2), replication(5)["write_consistency_factor"]
    ({'replication_factor': 2, 'write_consistency_factor': 1}, 2)
    """
    copies = min(REPLICAS, number)
    return {"replication_factor": copies, "write_consistency_factor": (copies + 1) // 2}


def point_of(name: str) -> str:
    """Id of a name's record."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{LOCKS}/{name}"))


def has_value(field: str, value: str) -> models.FieldCondition:
    """True for a point whose field is that."""
    return models.FieldCondition(key=field, match=models.MatchValue(value=value))


def is_held(record: Mapping[str, Any] | None) -> TypeGuard[Mapping[str, Any]]:
    """Whether somebody holds the lock, alive or not."""
    return bool(record and record["holder"])


def is_silent(record: Mapping[str, Any]) -> bool:
    """Whether its holder is dead, or was not heard of for a lease by this machine's clock, which may be wrong."""
    return float(record["expires"]) < time.time() or is_dead(record)


class JoinedLock(Lock):
    """What another process of the same job holds, perhaps on another machine; any of them may renew it.

    That process may die, and its lock be free at once on its own machine: so the record is read before each write.
    """

    def take(self, name: str) -> None:
        """Raises Locked unless the job holds it."""
        if name not in self._names:
            self._names[name] = 0
            self.look()

    def check(self) -> None:
        """Raise Locked when the job has lost it, or has ended."""
        self.look()

    def keep(self, seconds: float) -> float:
        """As of any lock."""
        self.look()
        return super().keep(seconds)


@contextlib.contextmanager
def hold(connection: Connection, name: str, aliases: Callable[[], Mapping[str, str]]) -> Iterator[Guard]:
    """Hold a name, and the collection that it is an alias of, while the block runs, renewed by a thread.

    Inside another such block it joins what is held there, to its end. Raises Locked when somebody else holds it.
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
        lock.take(name)  # inside, since Ctrl-C may come when the server has it already
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
    """Of two aliases of one collection, one at a time."""
    lock.take(name)
    if (collection := aliases().get(name)) is not None:
        lock.take(collection)
