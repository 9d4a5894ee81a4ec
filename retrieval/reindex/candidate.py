"""The collection that is to become the live one: created or continued, filled, and waited for."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from retrieval.errors import StoreError
from retrieval.ingest.context import Target
from retrieval.ingest.job import peek, plan_collection
from retrieval.ingest.options import IngestOptions
from retrieval.ingest.pipeline import fill
from retrieval.ingest.summary import IngestSummary
from retrieval.model.encoder_process import ImageEncoder
from retrieval.reindex.options import ReindexOptions
from retrieval.schema.index_config import Layout
from retrieval.sources import Source
from retrieval.store.base import Store
from retrieval.store.naming import find_unused, time_of

PASSES = 3
"""Of catching up, at most: a folder that never rests is taken as it is."""
SETTLE_SECONDS = 1800.0
"""How long the engine may take to index what it has, and as much again for each SETTLE_POINTS."""
SETTLE_POINTS = 1_000_000
"""Two slow cores index them in seven minutes."""
CALM = 3
"""Looks in a row, half a second apart: a server begins to index a moment after it was told to."""


def open_candidate(
    store: Store, alias: str, live: str, encoder: ImageEncoder, layout: Layout, dropped: list[str]
) -> str:
    """The collection to fill: what a killed run with this model left, or a new one. What other runs left is dropped.

    Its sources, labels and public URL are those of the live collection now.
    """
    going_on, wanted = None, ("filling", encoder.fingerprint, layout)
    for name, meta in reversed(find_unused(store, alias).items()):
        ours = (meta.state, meta.model, meta.layout) == wanted and time_of(name) > time_of(live)
        if ours and going_on is None and store.count(name):  # an empty one may lack its indexes
            going_on = name
        elif meta.state in ("filling", "refused", "trial"):
            store.drop_collection(name)
            dropped.append(name)
    now = store.metadata(live)
    if going_on:
        store.set_metadata(going_on, store.metadata(going_on).in_place_of(now))
        return going_on
    name, meta = plan_collection(store, encoder, alias, layout)
    store.create_collection(name, replace(meta, state="filling").in_place_of(now))
    if store.server:
        store.server.defer_indexing(name)
    return name


def fill_and_catch_up(
    target: Target,
    sources: Sequence[Source],
    live: str,
    options: ReindexOptions,
    report: Callable[[str, IngestSummary | None], None],
) -> IngestSummary:
    """Fill the collection, then go over the sources again until nothing has changed.

    live: the collection that is searched meanwhile; its user's fields, and codes of the same model, are taken over
    report: called with `fill` or `catch up`, and the counts so far

    Returns the counts of all passes.
    """
    total: IngestSummary | None = None
    filling = IngestOptions(prune=True, yes=True, max_failures=options.max_failures, ray=options.ray)
    for number in range(1 + PASSES):
        name, before = ("catch up", total) if number else ("fill", None)
        report(name, before)
        done = fill(
            target,
            [peek(source) for source in sources],
            replace(filling, ray=None) if number else filling,
            like=live,
            report=lambda now, name=name, before=before: report(name, add_counts(before, now)),  # type: ignore[misc]
        )
        total = add_counts(before, done)
        if number and not (done.encoded or done.copied or done.deleted):
            break
    assert total is not None
    return total


def add_counts(before: IngestSummary | None, now: IngestSummary) -> IngestSummary:
    """The counts of a pass, with the work of those before it."""
    if before is None:
        return now
    work = {name: getattr(before, name) + getattr(now, name) for name in ("encoded", "copied", "deleted", "seconds")}
    return replace(now, unchanged=max(0, now.found - now.failed - work["encoded"] - work["copied"]), **work)


def settle(store: Store, collection: str, live: str) -> None:
    """Let the engine index the collection as the live one, and wait until it is done.

    Raises StoreError when that takes too long.
    """
    indexing = store.server is not None and store.server.resume_indexing(collection, like=live)
    wait_until_settled(store, collection, calm=CALM if indexing else 1)


def wait_until_settled(store: Store, collection: str, calm: int) -> None:
    """Until the engine has nothing to do, at so many looks in a row; raises StoreError when that takes too long."""
    seconds = SETTLE_SECONDS * (1 + store.count(collection) / SETTLE_POINTS)
    end, seen = time.monotonic() + seconds, 0
    while True:
        now = store.health(collection)
        seen = seen + 1 if now.settled and not now.troubles else 0
        if seen >= calm:
            return
        if time.monotonic() > end:
            why = "; ".join(now.troubles) or "it is still being indexed"
            raise StoreError(
                f"{collection} is not ready after {seconds:.0f} s: {why}; the live collection is as it was",
                hint="run the same command again",
            )
        time.sleep(0.5)
