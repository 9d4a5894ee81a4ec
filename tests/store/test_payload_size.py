"""Large payloads: writes are split by their size, and a payload that is too large is refused by name."""

import json
from pathlib import Path

import pytest

from retrieval.errors import StoreError
from retrieval.reindex.migrate import migrate
from retrieval.schema.records import Payload, Point
from retrieval.store.base import Store
from retrieval.store.edge.engine import EdgeStore
from retrieval.store.validation import BATCH_BYTES, BATCH_POINTS, MOST_PAYLOAD, size_of, split_payloads, split_points
from tests.errors import raises
from tests.store.conftest import codes, meta, points

COLUMNS = {f"column {number:02d}": "x" * 2000 for number in range(70)}
COUNT = 300


def heavy(count: int) -> list[Point]:
    """Payloads with 140 kB of text each."""
    return [Point(point.id, point.code, {**point.payload, **COLUMNS}) for point in points(codes(count))]


def test_batches_are_split_by_their_size() -> None:
    written = heavy(100)
    found = list(split_points(written, 8))
    assert [point for batch in found for point in batch] == written
    assert all(sum(len(json.dumps(point.payload)) for point in batch) <= BATCH_BYTES for batch in found)
    assert len(found) == 4
    payloads = {point.id: point.payload for point in written}
    assert [dict(batch) for batch in split_payloads(payloads)] == [{p.id: p.payload for p in b} for b in found]


@pytest.mark.parametrize("character", ["x", "\x1b", "é", "😺"])
def test_small_payloads_are_never_more_than_a_request_takes(character: str) -> None:
    for length in (0, 100, 1900, 3000):
        payload: Payload = {"a": character * length, "b": 1.5, "c": None, "d": True, "e": 2**60}
        assert BATCH_POINTS * (len(json.dumps(payload)) - size_of(payload)) < 16 * 2**20


def test_many_megabytes_of_payloads(store: Store, name: str, tmp_path: Path) -> None:
    """Write and read more than the server takes in one request, in both engines, and from one to the other."""
    store.create_collection(name, meta())
    written = heavy(COUNT)
    store.upsert(name, written)
    assert store.count(name) == COUNT
    changed = {point.id: {**point.payload, "column 00": "y" * 2000} for point in written}
    store.set_payload(name, changed)
    found = {point.id: point.payload for page in store.scroll(name, page=50) for point in page}
    assert found == changed
    store.move_alias(f"{name}-alias", name)
    target = EdgeStore(tmp_path / "target")
    try:
        assert migrate(store, target, f"{name}-alias").copied == COUNT
        if store.engine == "server":
            store.move_alias(f"{name}-back", name)
            store.delete(name, list(changed))
            target.move_alias(f"{name}-back", name)
            assert migrate(target, store, f"{name}-back", yes=True).copied == COUNT
            assert store.count(name) == COUNT
    finally:
        target.close()


def test_one_that_is_too_large_is_refused_by_name(store: Store, name: str) -> None:
    store.create_collection(name, meta())
    good, bad = points(codes(2))
    huge: Payload = {**bad.payload, "text": "x" * MOST_PAYLOAD}
    named = f"{bad.payload['source']}/{bad.payload['path']}", MOST_PAYLOAD
    with raises(StoreError, *named):
        store.upsert(name, [good, Point(bad.id, bad.code, huge)])
    assert store.count(name) == 0
    store.upsert(name, [good, bad])
    with raises(StoreError, *named):
        store.set_payload(name, {good.id: {**good.payload, "new": 1}, bad.id: huge})
    assert {p.id: p.payload for page in store.scroll(name) for p in page} == {p.id: p.payload for p in (good, bad)}
