"""Back to the collection before, with its model: one step, for the middle of the night."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from retrieval import checkpoint
from retrieval.config import Settings
from retrieval.errors import StoreError
from retrieval.reindex.carry import Carried, carry, commands
from retrieval.reindex.swap import adopt, check_answer, mark_ready, read_back, swap
from retrieval.reindex.tidy import earlier
from retrieval.store.base import Store, resolve


@dataclass(frozen=True, slots=True)
class Rollback:
    """The alias now names `collection`, of `points` points by `model`; `left` is the one that it named before.

    carried: points that were brought up to date from `left` · missing: source → images that came or changed since and
    could not be, for their codes are another model's · next: commands that bring those in.
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

    Its model becomes the default if the other's was. The one that is left is marked, so that no later rollback leads
    to it. What was written to that one since is carried over first, unless `as_it_was`.

    Raises NoCollection when there is no such alias, StoreError when there is nothing to go back to or it does
    not answer, or when the other cannot be read, ModelError when its model is damaged on this machine, Locked.
    """
    with store.lock(alias) as held:
        left = resolve(store, alias)
        meta = mark_ready(store, left)
        found = earlier(store, alias, left)
        if not found:
            raise StoreError(
                f"{alias} at {store.location} is {left}, and nothing before it was kept; see: retrieval collections;"
                " what its sources hold can be made again with: retrieval reindex --model MODEL"
            )
        back = found[0]
        check_answer(store, back)  # no more than that: a way back must not need every peer of a cluster
        before = store.metadata(back)
        checkpoint.load_of(settings.models, before.model)
        brought = Carried() if as_it_was else carry(store, held, left, back)
        held.check()
        swap(store, alias, back)
        read_back(store, alias, back, left)
        adopt(settings.models, meta.model, before.model)
        store.set_metadata(left, replace(meta, state="rolled-back"))
        return Rollback(
            alias,
            back,
            left,
            before.model,
            store.count(back),
            before.created,
            carried=brought.points,
            missing=dict(brought.missing),
            next=commands(meta, alias, sorted(brought.missing)),
        )
