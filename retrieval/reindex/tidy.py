"""The collections that nothing points at: which of them can be gone back to, and how the others go."""

from retrieval.schema.records import CollectionMeta
from retrieval.store.base import Held, Store
from retrieval.store.naming import alias_of, find_damaged, find_unused, stamp


def find_earlier(store: Store, live: str, found: dict[str, CollectionMeta]) -> list[str]:
    """Those of the unused collections that were live before, the newest first; found: as `find_unused` gives them.

    Raises StoreError, here and below, when any of them does not answer: nothing is dropped or passed over then.
    """
    return [
        name
        for name, meta in reversed(found.items())
        if stamp(name) < stamp(live) and meta.state == "ready" and store.count(name)
    ]


def tidy(store: Store, held: Held, alias: str, live: str, keep: int) -> list[str]:
    """Drop what no alias points at but the `keep` newest that were live before; returns their names."""
    found = find_unused(store, alias)
    kept = find_earlier(store, live, found)[:keep]
    return drop(store, held, [name for name in found if name not in kept])


def drop_unused(store: Store) -> list[str]:
    """Drop every collection of this program's making that no alias points at, damaged ones too; returns their names.

    Under each alias's lock and each collection's, so that what a job fills just now is safe. Raises Locked when there
    is such a job, StoreError when the engine refuses.
    """
    dropped = []
    for alias in sorted({alias for name in store.collections() if (alias := alias_of(name))}):
        if find_unused(store, alias) or find_damaged(store, alias):
            with store.lock(alias) as held:
                dropped += drop(store, held, [*find_unused(store, alias), *find_damaged(store, alias)])
    return dropped


def drop(store: Store, held: Held, doomed: list[str]) -> list[str]:
    """Drop these collections; returns their names."""
    for name in doomed:
        held.check()
        store.drop_collection(name)
    return doomed
