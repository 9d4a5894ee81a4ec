"""The candidate: the collection that is to become the live one. It is created or resumed, filled, and indexed."""

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
from retrieval.reindex.outcome import ReindexOutcome
from retrieval.schema.index_config import Layout
from retrieval.sources import Source
from retrieval.store.base import Store
from retrieval.store.naming import find_unused, time_of

PASSES = 3
"""Maximum number of passes to catch up, since some folders never stop changing."""
SETTLE_SECONDS = 1800.0
"""How long the engine may take to build its index, plus as much again for each SETTLE_POINTS."""
SETTLE_POINTS = 1_000_000
"""Two slow cores index these in seven minutes."""
CALM = 3
"""Checks in a row, half a second apart, that must find the index ready: a server starts indexing after a moment."""


def open_candidate(store: Store, outcome: ReindexOutcome, encoder: ImageEncoder, layout: Layout) -> str:
    """The collection to fill: the one that a killed run with this model and layout left, or a new one.

    What other runs left is dropped. Sources, labels and public URL are copied from the live collection; for the same
    model, the verdict of its last evaluation too.

    store: the engine
    outcome: names the alias and the live collection; gets the names of dropped collections
    encoder: of the new collection
    layout: of the new collection
    """
    alias, live = outcome.alias, outcome.live
    resumed, wanted = None, ("filling", encoder.fingerprint, layout)
    for name, meta in reversed(find_unused(store, alias).items()):
        ours = (meta.state, meta.model, meta.layout) == wanted and time_of(name) > time_of(live)
        if ours and resumed is None and store.count(name):  # an empty one may lack its indexes
            resumed = name
        elif meta.state in ("filling", "refused", "trial"):
            store.drop_collection(name)
            outcome.dropped.append(name)
    now = store.metadata(live)
    verdict = now.verdict if now.model == encoder.fingerprint else None
    if resumed:
        store.set_metadata(resumed, replace(store.metadata(resumed).with_user_fields_of(now), verdict=verdict))
        return resumed
    name, meta = plan_collection(store, encoder, alias, layout)
    store.create_collection(name, replace(meta, state="filling", verdict=verdict).with_user_fields_of(now))
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
    """Fill the collection, then go over the sources again until a pass finds no change.

    target: the collection
    sources: those of the live collection
    live: the collection that is searched meanwhile; its users' fields, and embeddings of the same model, are copied
    options: as `retrieval reindex` offers them
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
    """Add the work of earlier passes to the counts of a pass."""
    if before is None:
        return now
    work = {name: getattr(before, name) + getattr(now, name) for name in ("encoded", "copied", "deleted", "seconds")}
    return replace(now, unchanged=max(0, now.found - now.failed - work["encoded"] - work["copied"]), **work)


def settle(store: Store, collection: str) -> None:
    """Index the collection as its layout says, and wait until the index is ready.

    Raises StoreError when this takes too long.
    """
    indexing = store.server is not None and store.server.resume_indexing(collection)
    wait_until_settled(store, collection, calm=CALM if indexing else 1)


def wait_until_settled(store: Store, collection: str, calm: int) -> None:
    """Wait until `calm` checks in a row find the index ready. Raises StoreError when this takes too long."""
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
                f"{collection} is not ready after {seconds:.0f} s: {why}; the live collection is unchanged",
                hint="run the same command again",
            )
        time.sleep(0.5)
