"""All collections that were ever made for an alias, known by their names and in the order in which they were made."""

import datetime as dt
import re

from retrieval.store.base import Store, collection_name

_STAMP = r"\d{8}t\d{6}z"
_NAME = re.compile(rf"(?P<alias>.+)-(?P<stamp>{_STAMP})-[0-9a-f]{{8}}")


def family(store: Store, alias: str) -> list[str]:
    """The alias's collections, the oldest first, whatever points at them."""
    return sorted((name for name in store.collections() if alias_of(name) == alias), key=stamp)


def unused(store: Store, alias: str) -> list[str]:
    """Those that no alias points at, the oldest first."""
    used = set(store.aliases().values())
    return [name for name in family(store, alias) if name not in used]


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


def next_name(store: Store, alias: str, fingerprint: str) -> tuple[str, dt.datetime]:
    """Name and UTC time for a new collection: later than every other of the alias, though the clock was set back."""
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    if others := family(store, alias):
        newest = dt.datetime.strptime(stamp(others[-1]), "%Y%m%dt%H%M%Sz").replace(tzinfo=dt.UTC)
        now = max(now, newest + dt.timedelta(seconds=1))
    return collection_name(alias, fingerprint, now), now
