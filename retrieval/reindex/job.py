"""The steps of a re-index. The live collection is only read until the swap, which is one call.

A run that was killed leaves the live collection as it was or the new one in its place; the next run goes on with
what the last one filled, or drops it.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from retrieval import checkpoint
from retrieval.config import Settings
from retrieval.errors import BadCode, GateRefused, ModelError, NoCollection
from retrieval.ingest.encoder import Encoding, LateEncoder
from retrieval.ingest.interrupt import finishing
from retrieval.ingest.job import kept
from retrieval.ingest.run import Target
from retrieval.ingest.summary import Summary
from retrieval.nearness import learn
from retrieval.records import CollectionMeta, seconds_since
from retrieval.reindex.candidate import begin, filled, settle
from retrieval.reindex.changed import changed
from retrieval.reindex.gate import Gate
from retrieval.reindex.options import Options
from retrieval.reindex.outcome import Check, Outcome
from retrieval.reindex.preflight import check_engine, check_model, check_room, recorded_sources
from retrieval.reindex.swap import adopt, mark_ready, read_back, swap
from retrieval.reindex.tidy import tidy
from retrieval.sources import Source
from retrieval.store.base import Held, Store, resolve
from retrieval.store.family import family

STEPS = {
    "preflight": "every peer and replica answers a query, each recorded source is there, the disk has room",
    "model": "load the model, or train one on the sources",
    "create": "make a collection beside the live one, or go on with the one that a killed run left",
    "fill": "encode every image of the sources into it",
    "catch up": "do the same again until nothing has changed meanwhile",
    "settle": "wait until the engine is done with it, and count",
    "gate": "compare it with what was asked for, and with the live one",
    "swap": "make its model the default, and point the alias at it in one call",
    "read back": "ask the alias; it goes back where it was if that fails",
    "tidy": "drop collections of the alias beyond those to keep",
}
Step = Callable[[str, Outcome], None]
"""Told which of STEPS begins, and again as filling goes on."""
Choose = Callable[[Sequence[Source]], Encoding]
"""The model to use, perhaps trained on the sources now."""


def reindex(
    store: Store,
    alias: str,
    choose: Choose,
    settings: Settings,
    options: Options = Options(),  # noqa: B008 - frozen
    *,
    step: Step = lambda name, outcome: None,
) -> Outcome:
    """Make a new collection of the alias's sources, and swap it in when it is as good as asked for.

    The alias's lock is held throughout. Raises GateRefused when it is not good enough (the new collection stays, to be
    looked at), NoCollection when there is nothing to re-index, Locked, SourceError or StoreError when it cannot begin
    or go on; what is searched is then what it was.
    """
    started = time.monotonic()
    outcome = Outcome(alias)

    def tell(name: str, outcome: Outcome) -> None:
        outcome.seconds = time.monotonic() - started
        step(name, outcome)

    def report(name: str, counts: Summary | None) -> None:
        outcome.counts = counts
        tell(name, outcome)

    tell("preflight", outcome)
    if (options.if_changed or options.older_than is not None) and nothing_yet(store, alias):
        outcome.state = "absent"
        return outcome
    check_engine(store, resolve(store, alias))  # before the lock, which a broken cluster could not give
    with store.lock(alias) as held:
        outcome.live = live = resolve(store, alias)
        meta = mark_ready(store, live)
        outcome.previous_model = meta.model
        if options.older_than is not None and is_recent(meta, options.older_than, outcome):
            outcome.state = "recent"
            return outcome
        layout = kept(store, meta.layout, options.layout)
        sources = recorded_sources(store, meta, live, settings)
        check_room(store, live, (meta.dim, meta.dim))
        same = options.if_changed and layout == meta.layout and not changed(store, alias, live, sources, settings)
        if same and options.fresh:
            outcome.state = "unchanged"
            return outcome
        tell("model", outcome)
        encoder = choose(sources)
        outcome.model = encoder.fingerprint
        check_model(settings.models, encoder)
        check_room(store, live, (meta.dim, encoder.config.dim))
        if same and encoder.fingerprint == meta.model:
            outcome.state = "unchanged"
            return outcome
        tell("create", outcome)
        outcome.collection = begin(store, alias, live, encoder, layout, outcome.dropped)
        target = Target(store, held, alias, outcome.collection, encoder, settings.refused)
        with refusing(store, outcome):
            outcome.counts = filled(target, sources, live, report, options.ray, options.max_failures)
            tell("settle", outcome)
            settle(store, outcome.collection, live)
            learn(store, outcome.collection)
            tell("gate", outcome)
            check(store, outcome, outcome.counts, encoder, sources, options, settings)
        if options.dry_run:
            outcome.state = "checked"
        else:
            check_model(settings.models, encoder)  # it took a while
            finish(store, held, outcome, options, settings, tell)
    outcome.seconds = time.monotonic() - started
    return outcome


def is_recent(meta: CollectionMeta, seconds: float, outcome: Outcome) -> bool:
    """Whether the live collection is younger than that; one whose age is not known is not, and that is said."""
    age = seconds_since(meta.created)
    if age is None:
        outcome.warnings.append(
            f"{outcome.live} was made on {meta.created} by its own account, which lies in the future or is no time; its"
            " age is not known, so that --if-older-than keeps nothing back; is this machine's clock right?"
        )
    return age is not None and age < seconds


def nothing_yet(store: Store, alias: str) -> bool:
    """Whether the alias has never named anything: nothing can be due before the first ingest."""
    return alias not in (*store.aliases(), *store.collections()) and not family(store, alias)


def check(
    store: Store,
    outcome: Outcome,
    counts: Summary,
    encoder: Encoding,
    sources: Sequence[Source],
    options: Options,
    settings: Settings,
) -> None:
    """Measure, write the numbers down, and raise GateRefused naming the rows that failed."""
    with contextlib.ExitStack() as stack:
        saved = None
        try:
            saved = checkpoint.load_of(settings.models, store.metadata(outcome.live).model)
        except ModelError as error:  # a new model is the way out of that
            outcome.warnings.append(f"the live collection's model cannot be compared with: {error}")
        before = stack.enter_context(contextlib.closing(LateEncoder(saved, settings.xla_cache))) if saved else None
        gate = Gate(store, outcome.collection, outcome.live, encoder, before, sources, settings.xla_cache)
        outcome.gate = gate.checks(counts, options)
    numbers = {row.name.replace(" ", "_"): round(row.value, 5) for row in outcome.gate if row.value is not None}
    meta = store.metadata(outcome.collection)
    store.set_metadata(outcome.collection, replace(meta, evaluation=numbers))
    if failed := [row for row in outcome.gate if row.passed is False]:
        raise GateRefused("; ".join(map(str, failed)))


@contextlib.contextmanager
def refusing(store: Store, outcome: Outcome) -> Iterator[None]:
    """A collection that fails the gate, or whose codes cannot be written, is marked.

    Raises GateRefused for both; its message says what stays.
    """
    try:
        yield
    except (BadCode, GateRefused) as error:
        if isinstance(error, BadCode):
            outcome.gate = [Check("finite codes", 0.0, str(error), passed=False)]
        outcome.state = "refused"
        with contextlib.suppress(NoCollection):
            store.set_metadata(outcome.collection, replace(store.metadata(outcome.collection), state="refused"))
        raise GateRefused(
            f"the gate refused {outcome.collection}: {error}; it stays, to be looked at, until the next run;"
            f" {outcome.live} is live as before"
        ) from error


def finish(store: Store, held: Held, outcome: Outcome, options: Options, settings: Settings, tell: Step) -> None:
    """Swap, read back, tidy."""
    tell("swap", outcome)
    held.check()
    # the default before the swap: a run that is killed between the two goes on with this model, not with the last
    adopt(settings.models, store.metadata(outcome.live).model, store.metadata(outcome.collection).model, options.fresh)
    with finishing():
        outcome.swap_seconds = swap(store, outcome.alias, outcome.collection)
        tell("read back", outcome)
        read_back(store, outcome.alias, outcome.collection, outcome.live)
        outcome.state = "swapped"
        mark_ready(store, outcome.collection)
    tell("tidy", outcome)
    outcome.dropped += tidy(store, held, outcome.alias, outcome.collection, options.keep)
