"""The steps of a re-index. The live collection is only read until the swap, which is one call.

After a killed run, either the old or the new collection is live, complete; the next run resumes the collection that
was being filled, or drops it.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from retrieval.config import Settings
from retrieval.errors import BadCode, GateRefused, ModelError, NoCollection
from retrieval.ingest.context import Target
from retrieval.ingest.job import merge_layout
from retrieval.ingest.summary import IngestSummary
from retrieval.model import saved_models
from retrieval.model.encoder_process import EncoderProcess, ImageEncoder
from retrieval.reindex.candidate import fill_and_catch_up, open_candidate, settle
from retrieval.reindex.change_detection import has_changed
from retrieval.reindex.context import ReindexRun
from retrieval.reindex.gate import ReindexGate
from retrieval.reindex.options import ReindexOptions
from retrieval.reindex.outcome import GateCheck, ReindexOutcome
from retrieval.reindex.preflight import check_engine, check_model, check_room_for_copy, open_recorded_sources
from retrieval.reindex.swap import adopt_default_model, mark_ready, read_back, swap, tidy
from retrieval.schema.records import CollectionMeta, seconds_since
from retrieval.search.calibration import fit
from retrieval.sources import Source
from retrieval.store.base import Store, resolve
from retrieval.store.naming import list_family
from retrieval.util.reporting import ignore
from retrieval.util.signals import hold_signals

STEPS = {
    "preflight": "check that every peer and replica answers, each recorded source exists, and the disk has room",
    "model": "load the model, or train one on the sources",
    "create": "create a collection beside the live one, or resume the one that a killed run left",
    "fill": "encode every image of the sources into it",
    "catch up": "repeat that until no image has changed meanwhile",
    "settle": "wait until the engine has indexed it",
    "gate": "check it against the limits, and compare it with the live one",
    "swap": "make its model the default, and point the alias at it in one call",
    "read back": "search through the alias; if that fails, move the alias back",
    "tidy": "drop old collections of the alias, except those to keep",
}
Step = Callable[[str, ReindexOutcome], None]
"""Called with the name of a step of STEPS when it begins, and repeatedly while it fills the collection."""
ChooseModel = Callable[[Sequence[Source]], ImageEncoder]
"""Returns the model to use, given the sources, on which it may train a new one."""


def reindex(
    store: Store,
    alias: str,
    choose: ChooseModel,
    settings: Settings,
    options: ReindexOptions = ReindexOptions(),  # noqa: B008 - frozen
    *,
    step: Step = ignore,
) -> ReindexOutcome:
    """Fill a new collection from the alias's sources, and swap it in if it passes the gate.

    The alias's lock is held throughout.

    store: the engine
    alias: of the live collection
    choose: returns the model, given the opened sources
    settings: where models and records of refused images are
    options: as `retrieval reindex` offers them
    step: called when a step begins, and while the collection is filled

    Raises GateRefused when the new collection is not good enough (it is kept for inspection), NoCollection when there
    is nothing to re-index, Locked, SourceError or StoreError when the run cannot start or continue. The live
    collection is then unchanged.
    """
    started = time.monotonic()
    outcome = ReindexOutcome(alias)

    def tell(name: str) -> None:
        outcome.seconds = time.monotonic() - started
        step(name, outcome)

    def report(name: str, counts: IngestSummary | None) -> None:
        outcome.counts = counts
        tell(name)

    tell("preflight")
    if (options.if_changed or options.older_than is not None) and is_absent(store, alias):
        outcome.state = "absent"
        return outcome
    check_engine(store, resolve(store, alias))  # before the lock, which cannot be taken on a broken cluster
    with store.lock(alias) as held:
        run = ReindexRun(store, held, settings, options, outcome, tell)
        outcome.live = live = resolve(store, alias)
        meta = mark_ready(store, live)
        outcome.previous_model = meta.model
        if options.older_than is not None and is_younger_than(meta, options.older_than, outcome):
            outcome.state = "recent"
            return outcome
        layout = merge_layout(store, meta.layout, options.layout)
        sources = open_recorded_sources(store, meta, live, settings)
        check_room_for_copy(store, live, (meta.dim, meta.dim))
        same = options.if_changed and layout == meta.layout and not has_changed(run, sources)
        if same and options.fresh:
            outcome.state = "unchanged"
            return outcome
        tell("model")
        encoder = choose(sources)
        outcome.model = encoder.fingerprint
        check_model(settings.models, encoder)
        outcome.sees = saved_models.describe_sight(settings.models, encoder.fingerprint)
        outcome.previous_sees = saved_models.describe_sight(settings.models, meta.model)
        check_room_for_copy(store, live, (meta.dim, encoder.config.dim))
        if same and encoder.fingerprint == meta.model:
            outcome.state = "unchanged"
            return outcome
        tell("create")
        outcome.collection = open_candidate(store, outcome, encoder, layout)
        target = Target(store, held, alias, outcome.collection, encoder, settings.refused)
        with mark_refused(run):
            outcome.counts = fill_and_catch_up(target, sources, live, options, report)
            tell("settle")
            settle(store, outcome.collection)
            fit(store, outcome.collection)
            tell("gate")
            check_gate(run, outcome.counts, encoder, sources)
        if options.dry_run:
            outcome.state = "checked"
        else:
            check_model(settings.models, encoder)  # again, since filling may have taken hours
            go_live(run)
    outcome.seconds = time.monotonic() - started
    return outcome


def is_younger_than(meta: CollectionMeta, seconds: float, outcome: ReindexOutcome) -> bool:
    """Whether the live collection is younger than that. If its age is unknown, it is not, and a warning is added."""
    age = seconds_since(meta.created)
    if age is None:
        outcome.warnings.append(
            f"{outcome.live} records {meta.created} as its date, which lies in the future or is not a date; its age is"
            " unknown, so --if-older-than has no effect; check this machine's clock"
        )
    return age is not None and age < seconds


def is_absent(store: Store, alias: str) -> bool:
    """Whether the alias has never existed: before the first ingest nothing can be due."""
    return alias not in (*store.aliases(), *store.collections()) and not list_family(store, alias)


def check_gate(run: ReindexRun, counts: IngestSummary, encoder: ImageEncoder, sources: Sequence[Source]) -> None:
    """Run the checks, record the numbers in the metadata, and raise GateRefused with the checks that failed."""
    store, outcome, settings = run.store, run.outcome, run.settings
    with contextlib.ExitStack() as stack:
        saved = None
        try:
            saved = saved_models.load_by_fingerprint(settings.models, store.metadata(outcome.live).model)
        except ModelError as error:  # no reason to stop: a new model replaces it
            outcome.warnings.append(f"no comparison with the live collection's model: {error}")
        before = stack.enter_context(contextlib.closing(EncoderProcess(saved, settings.xla_cache))) if saved else None
        outcome.gate = ReindexGate(run, encoder, before, sources).measure(counts)
    numbers = {row.name.replace(" ", "_"): round(row.value, 5) for row in outcome.gate if row.value is not None}
    store.set_metadata(outcome.collection, replace(store.metadata(outcome.collection), evaluation=numbers))
    if failed := [row for row in outcome.gate if row.passed is False]:
        raise GateRefused("; ".join(map(str, failed)))


@contextlib.contextmanager
def mark_refused(run: ReindexRun) -> Iterator[None]:
    """Mark the new collection as refused if it fails the gate, or if its embeddings are not finite numbers.

    Raises GateRefused for both.
    """
    outcome, store = run.outcome, run.store
    try:
        yield
    except (BadCode, GateRefused) as error:
        if isinstance(error, BadCode):
            outcome.gate = [GateCheck("finite codes", 0.0, str(error), passed=False)]
        outcome.state = "refused"
        with contextlib.suppress(NoCollection):
            store.set_metadata(outcome.collection, replace(store.metadata(outcome.collection), state="refused"))
        raise GateRefused(
            f"the gate refused {outcome.collection}: {error}; it is kept for inspection until the next run;"
            f" {outcome.live} is still live"
        ) from error


def go_live(run: ReindexRun) -> None:
    """Swap the new collection in, check that it answers, and drop old ones."""
    store, outcome, models = run.store, run.outcome, run.settings.models
    run.tell("swap")
    run.held.check()
    # The default model changes before the swap, so that after a kill between the two the next run uses this model.
    old, new = store.metadata(outcome.live).model, store.metadata(outcome.collection).model
    adopt_default_model(models, old, new, run.options.fresh)
    with hold_signals():
        outcome.swap_seconds = swap(store, outcome.alias, outcome.collection)
        run.tell("read back")
        read_back(store, outcome.alias, outcome.collection, outcome.live)
        outcome.state = "swapped"
        mark_ready(store, outcome.collection)
    run.tell("tidy")
    outcome.dropped += tidy(store, run.held, outcome.alias, outcome.collection, run.options.keep)
