"""The collection that is to become the live one: begun or gone on with, filled, and waited for."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from retrieval.errors import StoreError
from retrieval.ingest.encoder import Encoding
from retrieval.ingest.fill import Target, fill
from retrieval.ingest.job import begun, described_collection
from retrieval.ingest.options import Options
from retrieval.ingest.summary import Summary
from retrieval.sources import Source
from retrieval.store.base import Store
from retrieval.store.family import stamp, unused

PASSES = 3
"""Of catching up, at most: a folder that never rests is taken as it is."""
SETTLE_SECONDS = 1800.0
"""How long the engine may take to index what it has."""


def begin(store: Store, alias: str, live: str, encoder: Encoding, dropped: list[str]) -> str:
    """The collection to fill: what a killed run with this model left, or a new one; what others left is dropped."""
    going_on = None
    for name, meta in reversed(unused(store, alias).items()):
        ours = meta.state == "filling" and meta.model == encoder.fingerprint and stamp(name) > stamp(live)
        if ours and going_on is None and store.count(name):  # an empty one may lack its indexes
            going_on = name
        elif meta.state in ("filling", "refused"):
            store.drop_collection(name)
            dropped.append(name)
    if going_on:
        return going_on
    name, meta = described_collection(store, encoder, alias)
    store.create_collection(name, replace(meta, state="filling", public_url=store.metadata(live).public_url))
    return name


def filled(
    target: Target, sources: Sequence[Source], live: str, report: Callable[[str, Summary | None], None]
) -> Summary:
    """Fill the collection, and go over the sources again until nothing has changed; returns the counts of it all.

    report: told `fill` or `catch up`, and how far that is.
    """
    total: Summary | None = None
    for number in range(1 + PASSES):
        name, before = ("catch up", total) if number else ("fill", None)
        report(name, before)
        listings = [begun(source.entries()) for source in sources]
        done = fill(
            target,
            sources,
            listings,
            Options(prune=True, yes=True),
            like=live,
            report=lambda now, name=name, before=before: report(name, added(before, now)),  # type: ignore[misc]
        )
        total = added(before, done)
        if number and not (done.encoded or done.copied or done.deleted):
            break
    assert total is not None
    return total


def added(before: Summary | None, now: Summary) -> Summary:
    """The counts of a pass, with the work of those before it."""
    if before is None:
        return now
    work = {name: getattr(before, name) + getattr(now, name) for name in ("encoded", "copied", "deleted", "seconds")}
    return replace(now, unchanged=max(0, now.found - now.failed - work["encoded"] - work["copied"]), **work)


def settle(store: Store, collection: str) -> None:
    """Wait until the engine is done with the collection; raises StoreError after SETTLE_SECONDS."""
    end = time.monotonic() + SETTLE_SECONDS
    while not (now := store.condition(collection)).settled or now.troubles:
        if time.monotonic() > end:
            why = "; ".join(now.troubles) or "it is still being indexed"
            raise StoreError(
                f"{collection} is not ready after {SETTLE_SECONDS:.0f} s: {why}; the live collection is as it was; run"
                " the same command again"
            )
        time.sleep(0.5)
