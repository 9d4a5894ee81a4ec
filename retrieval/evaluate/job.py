"""The `evaluate` job: pictures in, a report out. Labels, where there are any, are counted and never learned from."""

import time
from collections.abc import Sequence

from retrieval.config import Settings
from retrieval.errors import RetrievalError, UsageError
from retrieval.evaluate.ann_recall import QUERIES, EngineRecall, engine_recall
from retrieval.evaluate.baselines import Codes, Method, methods
from retrieval.evaluate.data import NO_LABEL, SEED, EvaluationSet, read_evaluation_set
from retrieval.evaluate.failures import worst_queries
from retrieval.evaluate.report import Report
from retrieval.evaluate.scoring import Scores, Tick, score
from retrieval.model.encoder import Encoder
from retrieval.search.options import check_k
from retrieval.sources import Source
from retrieval.sources.arrays import choose_rows
from retrieval.store import open_store
from retrieval.store.base import require_model, resolve
from retrieval.util.reporting import ReportStep, ignore

LIMIT = 10_000
"""Queries at most: a P@5 is then known to within 0.01, and MNIST's test images are used whole."""


def evaluate(
    settings: Settings,
    encoder: Encoder,
    sources: Sequence[Source],
    asking: Sequence[Source] | None = None,
    alias: str = "images",
    *,
    k: int = 5,
    limit: int = LIMIT,
    must_compare: bool = False,
    step: ReportStep = ignore,
) -> Report:
    """Let pictures search the sources by the model's codes and by the baselines', and count what they find.

    Without `asking` each picture searches the others; of more than `limit` queries so many ask, chosen at random.
    The engine behind the alias is compared with brute force; where that cannot be, a note says so. Raises UsageError
    for a k out of range, SourceError for too few pictures, and StoreError or ModelError when it `must_compare` but
    cannot.
    """
    check_k(k)
    began = time.monotonic()
    size, channels = encoder.config.image_size, encoder.config.channels
    searched = [entry for source in sources for entry in source.entries()]
    queries = None if asking is None else [entry for source in asking for entry in source.entries()]
    pictures, refused = read_evaluation_set(
        searched, queries, size, channels, limit, lambda done, total: step("Reading", done, total)
    )
    others = pictures.indexed - (asking is None)
    if k > others:
        raise UsageError(
            f"must be between 1 and {others:,}, the others that a query has to find, not {k}",
            option="k",
        )
    notes = []
    engine: EngineRecall | None = None
    try:
        step("Asking the engine", 0, 1)
        engine = compare_engine(settings, encoder, pictures, k, alias)
    except RetrievalError as error:
        if must_compare:
            raise
        notes.append(f"the engine is not compared with brute force: {error}")

    def measure(coding: Method) -> tuple[Codes, Codes, Scores]:
        codes, copied = coding.codes(pictures.images), coding.codes(pictures.copies)
        tick = make_tick(step, f"Searching by {coding.name}", len(copied) + len(pictures.asking))
        return codes, copied, score(coding.name, codes, copied, pictures, k, tick)

    model, *baselines = methods(encoder, pictures.images[: pictures.indexed], SEED)
    codes, copied, scores = measure(model)
    notes += data_notes(pictures, counted=scores.labelled is not None)
    return Report(
        encoder.fingerprint,
        [source.spec for source in sources],
        None if asking is None else [source.spec for source in asking],
        k,
        pictures,
        [scores, *(measure(baseline)[2] for baseline in baselines)],
        worst_queries(scores, codes, copied, pictures, k),
        refused,
        engine,
        notes,
        time.monotonic() - began,
    )


def compare_engine(settings: Settings, encoder: Encoder, pictures: EvaluationSet, k: int, alias: str) -> EngineRecall:
    """Ask the engine that the settings mean with some of the queries."""
    rows = pictures.queries[choose_rows(len(pictures.queries), QUERIES)]
    with open_store(settings) as store:
        collection = resolve(store, alias)
        require_model(store, collection, encoder.fingerprint)
        return engine_recall(store, collection, encoder.encode(pictures.images[rows]), k)


def data_notes(pictures: EvaluationSet, *, counted: bool) -> list[str]:
    """What a reader must know about the pictures and their labels to judge the numbers."""
    said = []
    if pictures.left_out:
        said.append(f"{pictures.left_out:,} pictures are left out, chosen at random, to keep within memory")
    without = int((pictures.labels[pictures.queries] == NO_LABEL).sum())
    if (pictures.labels == NO_LABEL).all():
        said.append("no labels, so only distorted copies are counted (--labels folder takes the folders' names)")
    elif not counted:
        said.append("labels that are all the same, or all different, tell nothing: only distorted copies are counted")
    elif without:
        said.append(f"{without:,} queries have no label and are counted by copies only")
    return said


def make_tick(step: ReportStep, what: str, total: int) -> Tick:
    """A counter that tells `step` how many queries are done."""
    done = 0

    def tick(more: int) -> None:
        nonlocal done
        done += more
        step(what, done, total)

    return tick
