"""Back to the collection before, with its model: one step, for the middle of the night."""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from retrieval.config import Settings
from retrieval.errors import NoCollection, NotOurs, StoreError
from retrieval.model import saved_models
from retrieval.reindex.rollback_sync import SyncCounts, list_ingest_commands, sync_earlier
from retrieval.reindex.swap import adopt_default_model, check_answer, find_earlier, mark_ready, read_back, swap
from retrieval.schema.records import CollectionMeta
from retrieval.store.base import Store, resolve
from retrieval.store.naming import find_unused, list_family, read_metadata, time_of


@dataclass(frozen=True, slots=True)
class Rollback:
    """The alias now names `collection`, of `points` points by `model`; `left` is the one that it named before.

    created: when the collection was made
    carried: points that were brought up to date from `left`
    missing: source → images that came or changed since, and could not be carried, because the model is another
    next: commands that bring those in
    """

    alias: str
    collection: str
    left: str
    model: str
    points: int
    created: str
    carried: int = 0
    missing: Mapping[str, int] = field(default_factory=dict)
    next: Sequence[str] = ()

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def rollback(store: Store, alias: str, settings: Settings, *, as_it_was: bool = False) -> Rollback:
    """Point the alias at the newest collection that was live before the one it names.

    Its model becomes the default if the other's was. What was written to the collection that is left is carried over
    first. That collection is then marked, before the alias moves, so that no later rollback leads to it. The run after
    a killed one completes it, and goes no further back.

    store: the engine
    alias: to be moved
    settings: where the models are
    as_it_was: carry nothing over

    Raises NoCollection when there is no such alias, StoreError when there is nothing to go back to or it does not
    answer, or when the other cannot be read, ModelError when its model is damaged on this machine, Locked.
    """
    with store.lock(alias) as held:
        live = resolve(store, alias)
        known = read_metadata(store, list_family(store, alias))
        marked = [name for name, meta in known.items() if meta.state == "rolling-back"]
        # a killed one has left it: the alias moved, and what comes after that was not done
        begun = next((name for name in reversed(marked) if time_of(name) > time_of(live)), None)
        left, back = (begun, live) if begun else (live, find_previous(store, alias, live))
        meta = store.metadata(left) if begun else mark_ready(store, left)  # killed now, the mark must still be there
        old = store.metadata(back)
        check_answer(store, back)  # no more than that: a way back must not need every peer of a cluster
        saved_models.load_of(settings.models, old.model)
        brought = SyncCounts() if as_it_was else sync_earlier(store, held, left, back)
        held.check()
        if not begun:
            leave_collection(store, alias, back, left, meta)
        adopt_default_model(settings.models, meta.model, old.model)
        for name in dict.fromkeys([left, *marked]):
            store.set_metadata(name, replace(store.metadata(name), state="rolled-back"))
        return Rollback(
            alias,
            back,
            left,
            old.model,
            store.count(back),
            old.created,
            carried=brought.points,
            missing=dict(brought.missing),
            next=list_ingest_commands(meta, alias, sorted(brought.missing)),
        )


def find_previous(store: Store, alias: str, live: str) -> str:
    """The collection to go back to; raises StoreError, also for a damaged one, which is not passed over in silence."""
    found = find_earlier(store, live, find_unused(store, alias))
    since = [
        name for name in list_family(store, alias) if time_of(found[0] if found else "") < time_of(name) < time_of(live)
    ]
    for name in since:
        with contextlib.suppress(NotOurs, NoCollection):
            store.metadata(name)
    if not found:
        raise StoreError(
            f"{alias} at {store.location} is {live}, and nothing before it was kept",
            hint="see: retrieval collections; what its sources hold can be made again with: retrieval reindex"
            " --model MODEL",
        )
    return found[0]


def leave_collection(store: Store, alias: str, back: str, left: str, meta: CollectionMeta) -> None:
    """Mark the collection that is left, then move the alias; raises StoreError, the mark taken back, when it stays."""
    store.set_metadata(left, replace(meta, state="rolling-back"))
    try:
        swap(store, alias, back)
        read_back(store, alias, back, left)
    except StoreError:
        with contextlib.suppress(StoreError):
            if resolve(store, alias) == left:
                store.set_metadata(left, meta)
        raise
