"""Locks as another job, another machine or an older version would leave them."""

from typing import Any

from qdrant_client import models

from retrieval.store.qdrant.connection import Connection
from retrieval.store.qdrant.lock import LOCKS, Lock
from retrieval.util.process import read_clock


def alias_is(alias: str) -> models.Filter:
    return models.Filter(must=[models.FieldCondition(key="alias", match=models.MatchValue(value=alias))])


def records(connection: Connection, alias: str) -> list[dict[str, Any]]:
    """What is stored of the alias's lock."""
    found, _ = connection.query(connection.client.scroll, LOCKS, alias_is(alias))
    return [record.payload for record in found if record.payload]


def change_record(connection: Connection, alias: str, **fields: object) -> None:
    """As another version, another machine's clock or a later process would have it."""
    connection.job(connection.client.set_payload, LOCKS, fields, alias_is(alias), wait=True)


def forget_fields(connection: Connection, alias: str, *fields: str) -> None:
    connection.job(connection.client.delete_payload, LOCKS, list(fields), alias_is(alias), wait=True)


def taken_over(connection: Connection, name: str) -> Lock:
    """The lock of another job, which has waited out the lease of whoever held it before."""
    change_record(connection, name, lease=0.05, expires=0.0)
    other = Lock(connection)
    other.take(name)
    return other


class Clock:
    """The clock by which a lock is judged, set forward at will."""

    def __init__(self) -> None:
        self.passed = 0.0

    def __call__(self) -> float:
        return read_clock() + self.passed
