"""Lock records as other jobs, other machines or older versions leave them."""

from typing import Any

from qdrant_client import models

from retrieval.store.qdrant.connection import Connection
from retrieval.store.qdrant.lock import LOCKS, Lock
from retrieval.util.process import read_clock


def alias_is(alias: str) -> models.Filter:
    return models.Filter(must=[models.FieldCondition(key="alias", match=models.MatchValue(value=alias))])


def records(connection: Connection, alias: str) -> list[dict[str, Any]]:
    """The stored record of the alias's lock."""
    found, _ = connection.query(connection.client.scroll, LOCKS, alias_is(alias))
    return [record.payload for record in found if record.payload]


def change_record(connection: Connection, alias: str, **fields: object) -> None:
    """Change the record, as if another version, clock or process had written it."""
    connection.job(connection.client.set_payload, LOCKS, fields, alias_is(alias), wait=True)


def forget_fields(connection: Connection, alias: str, *fields: str) -> None:
    connection.job(connection.client.delete_payload, LOCKS, list(fields), alias_is(alias), wait=True)


def taken_over(connection: Connection, name: str) -> Lock:
    """Take over the lock as another job would after the lease has expired."""
    change_record(connection, name, lease=0.05, expires=0.0)
    other = Lock(connection)
    other.take(name)
    return other


class Clock:
    """The clock of the locks, which a test can set forward."""

    def __init__(self) -> None:
        self.passed = 0.0

    def __call__(self) -> float:
        return read_clock() + self.passed
