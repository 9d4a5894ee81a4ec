"""Roll back: make the previous collection and its model live again, in one step."""

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
    """What a rollback did.

    collection: the live collection now
    left: the collection that was live before
    model: fingerprint of the live collection's model
    points: number of points of the live collection
    created: when it was made
    carried: number of its points that were updated from `left`
    missing: source → number of images that are new or changed since, and need an embedding by this model
    next: commands that ingest those
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
    """Point the alias at the newest collection that was live before the current one.

    What was written to the current collection since is carried over first. It is then marked, before the alias moves,
    so that no later rollback goes back to it. Its model, if it is the default, is replaced as the default by the
    earlier collection's. If a run is killed, the next one completes it and does not go back further.

    store: the engine
    alias: to be moved
    settings: where the models are
    as_it_was: carry nothing over

    Raises NoCollection when there is no such alias, StoreError when there is no collection to go back to, or it does
    not answer, or the current one cannot be read, ModelError when its model is damaged on this machine, Locked.
    """
    with store.lock(alias) as held:
        live = resolve(store, alias)
        known = read_metadata(store, list_family(store, alias))
        marked = [name for name, meta in known.items() if meta.state == "rolling-back"]
        # a killed rollback moved the alias away from this one, and did not do what comes after
        interrupted = next((name for name in reversed(marked) if time_of(name) > time_of(live)), None)
        left, back = (interrupted, live) if interrupted else (live, find_previous(store, alias, live))
        # an interrupted rollback's mark is kept, in case this one is killed too
        meta = store.metadata(left) if interrupted else mark_ready(store, left)
        old = store.metadata(back)
        check_answer(store, back)  # only one query: a rollback must not need every peer of a cluster
        saved_models.load_by_fingerprint(settings.models, old.model)
        synced = SyncCounts() if as_it_was else sync_earlier(store, held, left, back)
        held.check()
        if interrupted:
            swap(store, alias, back)  # once more: a server whose disk was full has it in memory only
        else:
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
            carried=synced.points,
            missing=dict(synced.missing),
            next=list_ingest_commands(meta, alias, sorted(synced.missing)),
        )


def find_previous(store: Store, alias: str, live: str) -> str:
    """The collection to go back to. Raises StoreError if there is none, or if a more recent one is damaged."""
    found = find_earlier(store, live, find_unused(store, alias))
    since = [
        name for name in list_family(store, alias) if time_of(found[0] if found else "") < time_of(name) < time_of(live)
    ]
    for name in since:
        with contextlib.suppress(NotOurs, NoCollection):
            store.metadata(name)
    if not found:
        raise StoreError(
            f"{alias} at {store.location} is {live}, and no earlier collection was kept",
            hint="see: retrieval collections; to make one from its sources with an earlier model: retrieval reindex"
            " --model MODEL",
        )
    return found[0]


def leave_collection(store: Store, alias: str, back: str, left: str, meta: CollectionMeta) -> None:
    """Mark the current collection, then move the alias. Removes the mark, and raises StoreError, if it stays."""
    store.set_metadata(left, replace(meta, state="rolling-back"))
    try:
        swap(store, alias, back)
        read_back(store, alias, back, left)
    except StoreError:
        with contextlib.suppress(StoreError):
            if resolve(store, alias) == left:
                store.set_metadata(left, meta)
        raise
