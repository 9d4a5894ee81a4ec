"""Recall against brute force, of both engines and of engines that return wrong results."""

import dataclasses
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import NoCollection, StoreError
from retrieval.evaluate.ann_recall import engine_recall
from retrieval.schema.records import Hit
from retrieval.store.base import Store
from retrieval.store.edge.engine import EdgeStore
from tests.errors import raises
from tests.store.conftest import codes, meta, points

K = 4
CODES = codes(300)
QUERIES = codes(25, seed=1)


@pytest.fixture
def filled(store: Store, name: str) -> Store:
    store.create_collection(name, meta())
    store.upsert(name, points(np.concatenate([CODES, CODES[:50]])))  # with ties
    return store


def recall(store: Store, name: str, queries: np.ndarray = QUERIES, k: int = K) -> float:
    return engine_recall(store, name, queries, k).recall


def test_an_engine_that_finds_all_has_recall_1(filled: Store, name: str) -> None:
    found = engine_recall(filled, name, np.concatenate([QUERIES, CODES[:10]]), K)
    assert found.recall == 1
    assert (found.engine, found.collection, found.points, found.queries, found.k) == (filled.engine, name, 350, 35, K)
    assert recall(filled, name, k=400) == 1  # more than there are


Lie = Callable[[list[Hit]], list[Hit]]


@pytest.mark.parametrize(
    ("lie", "expected"),
    [
        (lambda hits: hits[1:], 0.75),
        (lambda hits: [hits[0]] * 4, 0.25),
        (lambda hits: [dataclasses.replace(hit, distance=0.0) for hit in hits[4:8]], 0.0),
        (lambda hits: [dataclasses.replace(hits[0], id="0" * 32), *hits[1:4]], 0.75),
    ],
    ids=["one is missing", "one four times", "far ones called near", "one that is not there"],
)
def test_wrong_results_of_an_engine_lower_recall(
    root: Path, lie: Lie, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = EdgeStore.query

    def query(self: EdgeStore, collection: str, codes: np.ndarray, k: int, where: object = None) -> list[list[Hit]]:
        return [lie(hits) for hits in honest(self, collection, codes, 2 * k)]

    monkeypatch.setattr(EdgeStore, "query", query)
    with closing(EdgeStore(root)) as store:
        assert engine_recall(store, "a", QUERIES, K).recall == pytest.approx(expected)


def test_what_cannot_be_compared(store: Store, name: str) -> None:
    with raises(NoCollection, name):
        recall(store, name)
    store.create_collection(name, meta())
    with raises(StoreError, name, "empty", hint="retrieval ingest SOURCE"):
        recall(store, name)
