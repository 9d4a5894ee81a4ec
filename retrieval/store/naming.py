"""Names of collections, which hold the alias and the time of creation, and the family of an alias's collections."""

import contextlib
import datetime as dt
import re
from collections.abc import Iterable

from retrieval.errors import NoCollection, NotOurs, StoreDamaged
from retrieval.schema.records import CollectionMeta
from retrieval.store.base import Store

_STAMP = r"\d{8}t\d{6}z"
_NAME = re.compile(rf"(?P<alias>.+)-(?P<stamp>{_STAMP})-[0-9a-f]{{8}}")


def list_family(store: Store, alias: str) -> list[str]:
    """The alias's collections, oldest first, whether or not an alias points at them."""
    return sorted((name for name in store.collections() if alias_of(name) == alias), key=time_of)


def find_unused(store: Store, alias: str) -> dict[str, CollectionMeta]:
    """The alias's collections that no alias points at, oldest first → their metadata; only those this program made.

    Raises as `read_metadata`.
    """
    used = set(store.aliases().values())
    return read_metadata(store, [name for name in list_family(store, alias) if name not in used])


def read_metadata(store: Store, names: Iterable[str]) -> dict[str, CollectionMeta]:
    """Name → metadata, without collections that another program made, or that are gone or damaged.

    Raises StoreUnavailable and other passing errors: a caller that drops some collections must know all of them.
    """
    found = {}
    for name in names:
        with contextlib.suppress(NotOurs, NoCollection, StoreDamaged):
            found[name] = store.metadata(name)
    return found


def find_damaged(store: Store, alias: str) -> dict[str, str]:
    """The alias's unused collections that cannot be opened → why; only the embedded engine has such."""
    used, found = set(store.aliases().values()), {}
    for name in list_family(store, alias):
        try:
            if name not in used:
                store.metadata(name)
        except StoreDamaged as error:
            found[name] = str(error)
        except (NotOurs, NoCollection):
            continue
    return found


def alias_of(collection: str) -> str | None:
    """The alias that a collection was made for; None for a name that this program did not make.

    >>> alias_of("images-20261123t070000z-4f1c2a9b")
    'images'
    """
    found = _NAME.fullmatch(collection)
    return found and found["alias"]


def time_of(collection: str) -> str:
    """The UTC time in a collection's name; sorts by time. Empty for a name that this program did not make."""
    found = _NAME.fullmatch(collection)
    return found["stamp"] if found else ""


def collection_name(alias: str, fingerprint: str, now: dt.datetime) -> str:
    """`images-20261123t070000z-4f1c2a9b`: alias, UTC time, first 8 digits of the model's fingerprint."""
    utc = now.astimezone(dt.UTC)
    return f"{alias}-{utc:%Y%m%dt%H%M%Sz}-{fingerprint[:8]}"


def next_name(store: Store, alias: str, fingerprint: str) -> tuple[str, dt.datetime]:
    """Name and UTC time for a new collection: later than the alias's others, even if the clock was set back."""
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    if others := list_family(store, alias):
        newest = dt.datetime.strptime(time_of(others[-1]), "%Y%m%dt%H%M%Sz").replace(tzinfo=dt.UTC)
        now = max(now, newest + dt.timedelta(seconds=1))
    return collection_name(alias, fingerprint, now), now
