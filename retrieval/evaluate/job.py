"""The `evaluate` job: images in, a report out. Labels are used only to score results, never for training."""

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from retrieval.config import Settings
from retrieval.errors import RetrievalError, UsageError
from retrieval.evaluate.ann_recall import QUERIES, EngineRecall, engine_recall
from retrieval.evaluate.baselines import Codes, Method, methods
from retrieval.evaluate.data import NO_LABEL, SEED, EvaluationSet, read_again, read_evaluation_set
from retrieval.evaluate.failures import worst_queries
from retrieval.evaluate.report import Report
from retrieval.evaluate.scoring import Scores, Tick, score
from retrieval.model.encoder import Encoder
from retrieval.schema.verdict import Verdict
from retrieval.search.options import check_k
from retrieval.sources import Source
from retrieval.sources.arrays import choose_rows
from retrieval.store import open_store
from retrieval.store.base import require_model, resolve
from retrieval.train.augment import distorted_copies
from retrieval.util.reporting import ReportStep, ignore
from retrieval.util.wording import count_of

LIMIT = 10_000
"""Maximum number of queries: P@5 is then known to within 0.01, and all of MNIST's test images are used."""


def evaluate(
    settings: Settings,
    encoder: Encoder,
    sources: Sequence[Source],
    query_sources: Sequence[Source] | None = None,
    alias: str = "images",
    *,
    k: int = 5,
    limit: int = LIMIT,
    must_compare: bool = False,
    step: ReportStep = ignore,
) -> Report:
    """Search the sources with the model's embeddings and with the baselines', and score the results.

    sources: the images to search
    query_sources: the queries; None: each image queries the others
    alias: its collection's engine is compared with brute force, and the verdict is stored with it; a note in the report
        says so if that is impossible
    k: hits per query, at least 1
    limit: maximum number of queries, chosen at random
    must_compare: raise an error if the engine cannot be compared
    step: called with a stage's name, how many items are done, and their total
    Raises UsageError for a k out of range, SourceError for too few images, and StoreError or ModelError if
    `must_compare` is set and the comparison is impossible.
    """
    check_k(k)
    began = time.monotonic()
    searched = [entry for source in sources for entry in source.entries()]
    queries = None if query_sources is None else [entry for source in query_sources for entry in source.entries()]
    data, refused = read_evaluation_set(
        searched, queries, encoder.config.drawn_shape, limit, lambda done, total: step("Reading", done, total)
    )
    others = data.indexed - (query_sources is None)
    if k > others:
        raise UsageError(
            f"must be between 1 and {others:,}, the number of other images, not {k}",
            option="k",
        )

    def measure(method: Method) -> tuple[Codes, Codes, Scores]:
        codes, copied = embed(method, data, step)
        tick = make_tick(step, f"Searching by {method.name}", len(copied) + len(data.labelled_queries))
        return codes, copied, score(method.name, codes, copied, data, k, tick)

    model, *baselines = methods(encoder, data.images[: data.indexed], SEED)
    notes = []
    engine: EngineRecall | None = None
    try:
        check_engine(settings, encoder.fingerprint, alias)  # before anything that takes long
        comparable = True
    except RetrievalError as error:
        if must_compare:
            raise
        comparable = False
        notes.append(f"the engine is not compared with brute force: {error}")
    codes, copied, scores = measure(model)
    if comparable:
        step("Querying the engine", 0, 1)
        rows = data.queries[choose_rows(len(data.queries), QUERIES)]
        engine = compare_engine(settings, encoder.fingerprint, codes[rows], k, alias)
    notes += data_notes(data, counted=scores.labelled is not None)
    report = Report(
        encoder.fingerprint,
        [source.spec for source in sources],
        None if query_sources is None else [source.spec for source in query_sources],
        k,
        data,
        [scores, *(measure(baseline)[2] for baseline in baselines)],
        worst_queries(scores, codes, copied, data, k),
        refused,
        engine,
        notes,
        time.monotonic() - began,
        on_trunk=encoder.config.trunk is not None,
    )
    if engine is not None:
        try:
            record_verdict(settings, alias, encoder.fingerprint, report.verdict)
        except RetrievalError as error:
            notes.append(f"the verdict is not recorded with the collection: {error}")
    return report


def record_verdict(settings: Settings, alias: str, fingerprint: str, verdict: Verdict) -> None:
    """Store the verdict with the alias's collection, whose searches then say if it is weak.

    A comparison with baselines by labels is not replaced by one without labels. Raises NoCollection, ModelError for a
    collection of another model, Locked, StoreError.
    """
    with open_store(settings) as store, store.lock(alias):
        collection = resolve(store, alias)
        require_model(store, collection, fingerprint)
        meta = store.metadata(collection)
        kept = meta.verdict
        if verdict.labelled or not (kept and kept.labelled and kept.baseline):
            store.set_metadata(collection, replace(meta, verdict=verdict))


def embed(method: Method, data: EvaluationSet, step: ReportStep) -> tuple[Codes, Codes]:
    """A method's embeddings of all images and of the distorted copies."""
    if method.shape is None:
        return method.codes(data.images), method.codes(data.copies)
    originals = np.empty((len(data.originals), *method.shape.array), np.uint8)
    parts = []
    for start, block in read_again(
        data.entries, method.shape, lambda done, total: step(f"Encoding by {method.name}", done, total)
    ):
        first, last = np.searchsorted(data.originals, (start, start + len(block)))
        originals[first:last] = block[data.originals[first:last] - start]
        parts.append(method.codes(block))
    return np.concatenate(parts), method.codes(distorted_copies(originals, SEED, data.distortion))


def check_engine(settings: Settings, fingerprint: str, alias: str) -> None:
    """Raise NoCollection, ModelError or StoreError unless the alias names a collection of the model."""
    with open_store(settings) as store:
        require_model(store, resolve(store, alias), fingerprint)


def compare_engine(settings: Settings, fingerprint: str, codes: Codes, k: int, alias: str) -> EngineRecall:
    """Measure the recall of the configured engine with the embeddings of some queries."""
    with open_store(settings) as store:
        collection = resolve(store, alias)
        require_model(store, collection, fingerprint)
        return engine_recall(store, collection, codes, k)


def data_notes(data: EvaluationSet, *, counted: bool) -> list[str]:
    """What a reader must know about the images and their labels to interpret the scores.

    counted: the labels were used for scoring
    """
    said = []
    if data.left_out:
        said.append(f"left out because memory is limited: {count_of(data.left_out, 'image')}, chosen at random")
    without = int((data.labels[data.queries] == NO_LABEL).sum())
    if (data.labels == NO_LABEL).all():
        said.append("no labels: only distorted copies are scored (--labels folder uses folder names as labels)")
    elif not counted:
        said.append("labels are all the same or all different: only distorted copies are scored")
    elif without:
        said.append(f"left out of the label scores: {count_of(without, 'query', 'queries')} without a label")
    return said


def make_tick(step: ReportStep, what: str, total: int) -> Tick:
    """A callback that adds to a count and reports it to `step`."""
    done = 0

    def tick(more: int) -> None:
        nonlocal done
        done += more
        step(what, done, total)

    return tick
