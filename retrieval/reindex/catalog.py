"""The collections that nothing points at, and how they go."""

from retrieval.reindex.swap import is_ours
from retrieval.store.base import Store
from retrieval.store.family import alias_of, unused


def drop_unused(store: Store) -> list[str]:
    """Drop every collection of this program's making that no alias points at; returns their names.

    Under each alias's lock, so that the one which a re-index fills just now is safe. Raises Locked for such an alias,
    StoreError when the engine refuses.
    """
    dropped = []
    for alias in sorted({alias for name in store.collections() if (alias := alias_of(name))}):
        if not any(is_ours(store, name) for name in unused(store, alias)):
            continue
        with store.lock(alias) as held:
            for name in unused(store, alias):
                if is_ours(store, name):
                    held.check()
                    store.drop_collection(name)
                    dropped.append(name)
    return dropped
