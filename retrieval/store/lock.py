"""A lock on an alias, kept in Qdrant itself: two jobs that write never meet, whatever machines they run on.

Each alias has one point in the collection `retrieval-locks`. To take, renew or take over a lock is to replace the
point only where it still bears the token that was read: Qdrant (from 1.16) looks and writes in one step, one
operation after the other. A lock that is not renewed ends by the clock, so clocks must agree to about a minute.
"""

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

from qdrant_client import models

from retrieval.errors import Locked, StoreError
from retrieval.process import in_words, is_dead, this_process
from retrieval.store.connection import Connection
from retrieval.store.server_layout import peers

LOCKS = "retrieval-locks"
LEASE_SECONDS = 300.0
"""How long the lock of a holder that has fallen silent is respected; it is renewed five times as often."""
RESERVE = 0.4
"""Share of the lease that `check` guarantees: 120 s, as long as one write is tried (`Patience.job_deadline`)."""
REPLICAS = 3
"""On a cluster, where two of them make a majority: one node may die, and no lock is lost or taken twice."""
ORDERED = models.WriteOrdering.MEDIUM
"""One peer orders the writes, another when that one is gone; STRONG would wait for it to come back."""


class AliasLock:
    """One job's lock; `take` before use, then `check` before each write."""

    def __init__(self, connection: Connection, alias: str, holder: str | None = None) -> None:
        """holder: of a lock that was taken already."""
        self._connection = connection
        self._client, self._call, self._job = connection.client, connection.query, connection.job
        self._where = f"alias {alias!r} at {connection.location}"
        self._alias, self._point = alias, str(uuid.uuid5(uuid.NAMESPACE_URL, f"{LOCKS}/{alias}"))
        self.holder, self._expires = holder or uuid.uuid4().hex, 0.0
        self._tried, self._lost, self._one_at_a_time = False, "", threading.Lock()

    def take(self) -> None:
        """Raises Locked naming the holder; one that is dead or has fallen silent for long does not count."""
        self._prepare()
        found = self._read()
        if not found or free(found):
            found = self._replace(found)
        if found["holder"] != self.holder:
            raise Locked(f"{self._where} is being written by {in_words(found)}; try again when that is done")

    def check(self) -> None:
        """Raise Locked when another job has taken over; what is written within two minutes of this is safe."""
        if self._lost or self._expires - time.time() < RESERVE * LEASE_SECONDS:
            self.renew()

    def renew(self) -> None:
        """Put the end off; raises Locked as `check`, StoreUnavailable when the server does not answer."""
        with self._one_at_a_time:
            if not self._lost:
                found = self._read()
                if not found or found["holder"] == self.holder:
                    found = self._replace(found)
                if found["holder"] != self.holder:
                    self._lost = in_words(found)
        if self._lost:
            raise Locked(
                f"{self._where} was taken over by {self._lost}, while this job was stopped or cut off; try again"
                " when that is done"
            )

    def release(self) -> None:
        """Delete the lock if it is ours; where the server does not answer, it ends by itself."""
        if not self._tried:
            return
        ours = models.Filter(must=[models.HasIdCondition(has_id=[self._point]), has("holder", self.holder)])
        with contextlib.suppress(StoreError):
            self._call(self._client.delete, LOCKS, models.FilterSelector(filter=ours), wait=True, ordering=ORDERED)

    def _replace(self, found: dict[str, Any] | None) -> dict[str, Any]:
        """Write our record over the one that was found, unless it has changed; returns what is there then."""
        record = {
            **this_process(),
            "alias": self._alias,
            "holder": self.holder,
            "token": uuid.uuid4().hex,
            "expires": time.time() + LEASE_SECONDS,
        }
        unchanged = models.Filter(must=[has("token", found["token"] if found else record["token"])])
        point = models.PointStruct(id=self._point, vector=[0.0], payload=record)
        self._tried = True
        self._call(self._client.upsert, LOCKS, [point], wait=True, ordering=ORDERED, update_filter=unchanged)
        stored = self._read()
        if stored is None:
            raise Locked(f"{self._where}: another job was quicker, and has finished since; try again")
        if stored["holder"] == self.holder:
            self._expires = float(stored["expires"])
        return stored

    def _read(self) -> dict[str, Any] | None:
        quorum = models.ReadConsistencyType.QUORUM  # MAJORITY fails while a dead peer still counts as active
        found = self._call(self._client.retrieve, LOCKS, [self._point], with_payload=True, consistency=quorum)
        return found[0].payload if found else None

    def _prepare(self) -> None:
        """Make the collection where it is missing; somebody else may be doing so at the same time."""
        if self._job(self._client.collection_exists, LOCKS):
            return
        space = models.VectorParams(size=1, distance=models.Distance.EUCLID)
        try:
            self._job(
                self._client.create_collection, LOCKS, space, shard_number=1, **replicated(peers(self._connection))
            )
        except StoreError:
            if not self._job(self._client.collection_exists, LOCKS):
                raise
        for field in ("holder", "token"):
            self._job(self._client.create_payload_index, LOCKS, field, models.PayloadSchemaType.KEYWORD, wait=True)


def replicated(number: int) -> dict[str, Any]:
    """Copies of the locks on so many peers, and how many of them a write takes.

    >>> replicated(2), replicated(5)["write_consistency_factor"]
    ({'replication_factor': 2, 'write_consistency_factor': 1}, 2)
    """
    copies = min(REPLICAS, number)
    return {"replication_factor": copies, "write_consistency_factor": (copies + 1) // 2}


def has(field: str, value: str) -> models.FieldCondition:
    """True for a point whose field is that."""
    return models.FieldCondition(key=field, match=models.MatchValue(value=value))


def free(record: dict[str, Any]) -> bool:
    """Whether the lock may be taken over at once."""
    return float(record["expires"]) < time.time() or is_dead(record)


class LockElsewhere(AliasLock):
    """The lock that another process of the same job holds and renews, perhaps on another machine."""

    def check(self) -> None:
        """Raise Locked when that process has lost it, or has ended."""
        found = self._read()
        if not found or found["holder"] != self.holder or float(found["expires"]) < time.time():
            raise Locked(
                f"{self._where} is not held any more by the job that this work is part of; nothing was written"
            )


@contextlib.contextmanager
def alias_lock(connection: Connection, alias: str) -> Iterator[AliasLock]:
    """Hold the lock while the block runs, renewed by a thread; raises Locked when somebody else holds it."""
    lock, over = AliasLock(connection, alias), threading.Event()

    def renew() -> None:
        while not over.wait(LEASE_SECONDS / 5):
            with contextlib.suppress(StoreError):  # the next `check` raises it, if it still matters then
                lock.renew()

    thread = threading.Thread(target=renew, name=f"lock {alias}", daemon=True)
    try:
        lock.take()  # inside, since Ctrl-C may come when the server has it already
        thread.start()
        yield lock
    finally:
        over.set()
        if thread.ident:
            thread.join()
        lock.release()
