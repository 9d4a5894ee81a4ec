"""The collections that nothing points at: which of them can be gone back to, and how the others go."""

from collections.abc import Collection

from retrieval.store.base import Held, Store
from retrieval.store.family import alias_of, damaged, stamp, unused


def earlier(store: Store, alias: str, live: str) -> list[str]:
    """Collections that were live before and that no alias points at, the newest first."""
    return [
        name
        for name, meta in reversed(unused(store, alias).items())
        if stamp(name) < stamp(live) and meta.state == "ready" and store.count(name)
    ]


def tidy(store: Store, held: Held, alias: str, live: str, keep: int) -> list[str]:
    """Drop what no alias points at but the `keep` newest that were live before; returns their names."""
    return drop(store, held, alias, earlier(store, alias, live)[:keep])


def drop_unused(store: Store) -> list[str]:
    """Drop every collection of this program's making that no alias points at, damaged ones too; returns their names.

    Under each alias's lock, so that the one which a re-index fills just now is safe. Raises Locked for such an alias,
    StoreError when the engine refuses.
    """
    dropped = []
    for alias in sorted({alias for name in store.collections() if (alias := alias_of(name))}):
        if unused(store, alias) or damaged(store, alias):
            with store.lock(alias) as held:
                dropped += drop(store, held, alias)
                for name in damaged(store, alias):
                    held.check()
                    store.drop_collection(name)
                    dropped.append(name)
    return dropped


def drop(store: Store, held: Held, alias: str, keep: Collection[str] = ()) -> list[str]:
    """Drop the alias's unused collections but some."""
    doomed = [name for name in unused(store, alias) if name not in keep]
    for name in doomed:
        held.check()
        store.drop_collection(name)
    return doomed
