"""All collections that were ever made for an alias, known by their names and in the order in which they were made."""

import contextlib
import datetime as dt
import re
from collections.abc import Iterable

from retrieval.errors import NoCollection, NotOurs, StoreDamaged
from retrieval.records import CollectionMeta
from retrieval.store.base import Store

_STAMP = r"\d{8}t\d{6}z"
_NAME = re.compile(rf"(?P<alias>.+)-(?P<stamp>{_STAMP})-[0-9a-f]{{8}}")


def family(store: Store, alias: str) -> list[str]:
    """The alias's collections, the oldest first, whatever points at them."""
    return sorted((name for name in store.collections() if alias_of(name) == alias), key=stamp)


def find_unused(store: Store, alias: str) -> dict[str, CollectionMeta]:
    """Those of this program's making that no alias points at, the oldest first, with what they say of themselves.

    Raises as `described`.
    """
    used = set(store.aliases().values())
    return read_metadata(store, [name for name in family(store, alias) if name not in used])


def read_metadata(store: Store, names: Iterable[str]) -> dict[str, CollectionMeta]:
    """What collections say of themselves; without those that something else made, or that are gone or damaged.

    Raises StoreUnavailable, and all else that may pass: who keeps some and drops others must know all of them.
    """
    found = {}
    for name in names:
        with contextlib.suppress(NotOurs, NoCollection, StoreDamaged):
            found[name] = store.metadata(name)
    return found


def find_damaged(store: Store, alias: str) -> dict[str, str]:
    """Those that no alias points at and that cannot be opened, by name, and why; only the embedded engine has such."""
    used, found = set(store.aliases().values()), {}
    for name in family(store, alias):
        try:
            if name not in used:
                store.metadata(name)
        except StoreDamaged as error:
            found[name] = str(error)
        except (NotOurs, NoCollection):
            continue
    return found


def alias_of(collection: str) -> str | None:
    """The alias for which a collection was made; None for a name that is not of our making.

    >>> alias_of("images-20261123t070000z-4f1c2a9b")
    'images'
    """
    found = _NAME.fullmatch(collection)
    return found and found["alias"]


def stamp(collection: str) -> str:
    """The UTC time in its name; sorts by time. Empty for a name that is not of our making."""
    found = _NAME.fullmatch(collection)
    return found["stamp"] if found else ""


def collection_name(alias: str, fingerprint: str, now: dt.datetime) -> str:
    """`images-20261123t070000z-4f1c2a9b`: alias, UTC time, the model fingerprint's first 8."""
    utc = now.astimezone(dt.UTC)
    return f"{alias}-{utc:%Y%m%dt%H%M%Sz}-{fingerprint[:8]}"


def next_name(store: Store, alias: str, fingerprint: str) -> tuple[str, dt.datetime]:
    """Name and UTC time for a new collection: later than every other of the alias, though the clock was set back."""
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    if others := family(store, alias):
        newest = dt.datetime.strptime(stamp(others[-1]), "%Y%m%dt%H%M%Sz").replace(tzinfo=dt.UTC)
        now = max(now, newest + dt.timedelta(seconds=1))
    return collection_name(alias, fingerprint, now), now
