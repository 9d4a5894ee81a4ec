"""Searches during a re-index get complete results, each from one collection with the encoder that made it."""

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from retrieval.errors import NoCollection, RetrievalError
from retrieval.images.decode import decode
from retrieval.reindex.job import reindex
from retrieval.reindex.options import ReindexOptions
from retrieval.reindex.rollback import rollback
from retrieval.schema.image_shape import ImageShape
from retrieval.search.live import AliasFollower
from retrieval.search.query import Query
from retrieval.search.results import Result
from retrieval.store.base import Store, resolve
from tests.reindex.conftest import NEW, OLD, WIDE
from tests.reindex.encoders import SIDE, Shades
from tests.reindex.places import Place

ENCODERS = {encoder.fingerprint: encoder for encoder in (OLD, NEW, WIDE)}
THREADS = 4


def reader(store: Store, alias: str) -> AliasFollower:
    return AliasFollower(store, alias, ENCODERS.__getitem__)  # type: ignore[arg-type]


def query(file: Path) -> Query:
    return Query.of(file.name, file.read_bytes)


def pixels(file: Path) -> np.ndarray:
    return decode(file.read_bytes(), file.name, ImageShape(SIDE, SIDE, 1)).pixels


def fitting(result: Result, rows: Mapping[str, int], codes: Sequence[np.ndarray], number: int) -> list[int]:
    """The models whose embeddings give all distances of a result. rows: image's key → row of the embeddings."""
    found = [rows[hit.path] for hit in result.hits]
    distances = [hit.distance for hit in result.hits]
    return [
        model
        for model, known in enumerate(codes)
        if np.allclose(np.linalg.norm(known[found] - known[number], axis=1), distances, atol=1e-4)
    ]


def test_no_answer_is_empty_or_mixed(store: Store, place: Place, root: Path) -> None:
    files = sorted(root.rglob("*.png"))
    keys = {file.relative_to(root).as_posix(): row for row, file in enumerate(files)}
    codes = [encoder.encode(np.stack([pixels(file) for file in files])) for encoder in ENCODERS.values()]
    wrong: list[object] = []
    models: set[int] = set()
    over = threading.Event()
    shared = reader(store, place.alias)

    def look(number: int) -> None:
        while not over.is_set():
            number = (number + THREADS) % len(files)
            try:
                (result,) = shared.search([query(files[number])])
            except RetrievalError as error:
                wrong.append(error)
                continue
            fits = fitting(result, keys, codes, number)
            models.update(fits)
            if len(result.hits) != 5 or not fits:
                wrong.append(result.hits)

    threads = [threading.Thread(target=look, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        for encoder in (NEW, WIDE, OLD):
            reindex(store, place.alias, lambda sources, e=encoder: e, place.settings, ReindexOptions(keep=1))  # type: ignore[misc]
        rollback(store, place.alias, place.settings)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert models == {0, 1, 2}


def test_the_next_request_sees_a_swap(store: Store, place: Place, root: Path) -> None:
    long_lived = reader(store, place.alias)
    asked = query(next(root.rglob("*.png")))
    assert long_lived.live().encoder.fingerprint == OLD.fingerprint
    assert len(long_lived.search([asked])[0].hits) == 5
    new = reindex(store, place.alias, lambda sources: WIDE, place.settings).collection
    after = long_lived.live()
    assert (after.collection, after.encoder.fingerprint, after.meta.dim) == (new, WIDE.fingerprint, 7)
    assert len(long_lived.search([asked])[0].hits) == 5


def test_a_collection_that_is_dropped_under_a_request(store: Store, place: Place, root: Path) -> None:
    class Slow(Shades):
        """Drop the resolved collection while it encodes."""

        def encode(self, images: np.ndarray) -> np.ndarray:
            if resolve(store, place.alias) == old:
                reindex(store, place.alias, lambda sources: NEW, place.settings, ReindexOptions(keep=0))
            return OLD.encode(images)

    old = resolve(store, place.alias)
    slow = Slow(1)
    long_lived = AliasFollower(store, place.alias, lambda mark: slow if mark == OLD.fingerprint else NEW)  # type: ignore[arg-type,return-value]
    hits = long_lived.search([query(next(root.rglob("*.png")))])[0].hits
    assert len(hits) == 5
    assert old not in store.collections()


def test_an_alias_that_is_gone(store: Store, place: Place, root: Path) -> None:
    with pytest.raises(NoCollection):
        reader(store, "test-nothing").search([query(next(root.rglob("*.png")))])
