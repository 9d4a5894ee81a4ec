"""Move the alias, check that it answers, set states and the default model, and drop old collections."""

import time
from dataclasses import replace
from pathlib import Path

from retrieval.errors import Locked, StoreError
from retrieval.model import saved_models
from retrieval.schema.records import CollectionMeta, codes_of
from retrieval.store.base import Held, Store, resolve
from retrieval.store.naming import alias_of, find_damaged, find_unused, time_of

LEFT = ("rolling-back", "rolled-back")
"""States of a collection that a rollback leaves: before the alias moves, and when the rollback is complete."""
SAME = 1e-3
"""Embeddings of one image differ by less, in whichever batch it was encoded; they have length 1."""


def swap(store: Store, alias: str, collection: str) -> float:
    """Point the alias at the collection in one call. Returns the seconds that it took."""
    started = time.monotonic()
    store.move_alias(alias, collection)
    return time.monotonic() - started


def read_back(store: Store, alias: str, collection: str, live: str) -> None:
    """Check that the alias names the collection and that it answers; otherwise move the alias back to `live`.

    Raises StoreError when it was moved back, and Locked when it could not be, because another job holds the lock now.
    """
    try:
        if (found := resolve(store, alias)) != collection:
            raise StoreError(f"the alias points at {found}", hint="check whether another program moves it")
        check_answer(store, collection)
    except StoreError as error:
        try:
            store.move_alias(alias, live)
        except Locked as locked:
            raise Locked(f"{collection} did not answer ({error}), and {locked}") from error
        raise StoreError(f"{collection} did not answer, so {alias} was moved back to {live}: {error}") from error


def check_answer(store: Store, collection: str) -> None:
    """Raise StoreError unless a search for a stored embedding finds it."""
    page = next(store.scroll(collection, codes=True, page=1), [])
    codes = codes_of(page)
    if not page or not (hits := store.query(collection, codes, 1)[0]) or hits[0].distance > SAME:
        raise StoreError(f"{collection}: its first point does not find itself")


def mark_ready(store: Store, collection: str) -> CollectionMeta:
    """Set a live collection's state to `ready`, which a killed run may not have done. Returns its metadata.

    A collection that a rollback left, or began to leave, keeps its state, so that no later rollback goes back to it.
    """
    meta = store.metadata(collection)
    if meta.state not in ("ready", *LEFT):
        meta = replace(meta, state="ready")
        store.set_metadata(collection, meta)
    return meta


def adopt_default_model(models: Path, old: str, new: str, fresh: bool = False) -> None:
    """Make the new collection's model the default if the old one's was, if none is, or if `fresh`."""
    before, path = saved_models.default(models), saved_models.folder_of(models, new)
    if path is not None and (fresh or before is None or before == saved_models.folder_of(models, old)):
        saved_models.set_default(saved_models.load(path))


def find_earlier(store: Store, live: str, found: dict[str, CollectionMeta]) -> list[str]:
    """Those of the unused collections that were live before, the newest first.

    found: from `find_unused`

    Raises StoreError when any of them does not answer, so that none is wrongly dropped or skipped.
    """
    return [
        name
        for name, meta in reversed(found.items())
        if time_of(name) < time_of(live) and meta.state == "ready" and store.count(name)
    ]


def tidy(store: Store, held: Held, alias: str, live: str, keep: int) -> list[str]:
    """Drop the alias's unused collections, except the `keep` newest that were live before. Returns their names."""
    found = find_unused(store, alias)
    kept = find_earlier(store, live, found)[:keep]
    return drop(store, held, [name for name in found if name not in kept])


def drop_unused(store: Store) -> list[str]:
    """Drop all of this program's collections that no alias points at, damaged ones too. Returns their names.

    Takes the lock of each alias first, so that a collection that a job is filling is safe. Raises Locked when there is
    such a job, StoreError when the engine refuses.
    """
    dropped = []
    for alias in sorted({alias for name in store.collections() if (alias := alias_of(name))}):
        if find_unused(store, alias) or find_damaged(store, alias):
            with store.lock(alias) as held:
                dropped += drop(store, held, [*find_unused(store, alias), *find_damaged(store, alias)])
    return dropped


def drop(store: Store, held: Held, names: list[str]) -> list[str]:
    """Drop these collections. Returns their names."""
    for name in names:
        held.check()
        store.drop_collection(name)
    return names
