"""Measure index settings on a copy of the collection, whose index is rebuilt for each of them."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float32

from retrieval.errors import StoreError, UsageError
from retrieval.reindex.candidate import CALM, wait_until_settled
from retrieval.reindex.tune_candidates import EXACT, IndexMeasurement, estimate_memory, list_efs
from retrieval.schema.index_config import Layout
from retrieval.schema.records import codes_of
from retrieval.search.neighbours import TIE
from retrieval.store.base import Held, SearchParams, Store, resolve
from retrieval.store.naming import find_unused, next_name
from retrieval.util.reporting import ReportStep, ignore
from retrieval.util.wording import count_of

K = 5
QUERIES = 300
"""Stored embeddings used as queries, one at a time; the p95 then rests on the fifteen slowest."""
WARM = 50
FEWEST = 1_000
"""Least number of points: with fewer the engine builds no graph, and any setting will do."""


def tune(
    store: Store,
    alias: str,
    *,
    builds: Sequence[Layout],
    step: ReportStep = ignore,
) -> Iterator[IndexMeasurement]:
    """Measure exact search, then each build with each `ef`, on a copy that is dropped at the end.

    The alias's lock is held meanwhile, so that nothing changes.

    store: a server
    alias: of the collection
    builds: layouts to try
    step: called when a step begins, and while the collection is copied

    Raises UsageError for the embedded engine, which has no index, or for a collection that is too small,
    NoCollection, Locked, StoreError.
    """
    server = store.server
    if server is None:
        raise UsageError(
            "the embedded engine has no index to tune: it compares every embedding", hint="set QDRANT_URL to a server"
        )
    with store.lock(alias) as held:
        live = resolve(store, alias)
        points, dim = store.count(live), store.metadata(live).dim
        if points < FEWEST:
            raise UsageError(
                f"{live} has {count_of(points, 'point')}; with fewer than {FEWEST:,} there is nothing to tune"
            )
        with make_trial_copy(store, held, alias, live, step) as name:
            sample = next(store.scroll(name, codes=True, page=QUERIES + WARM))
            codes = codes_of(sample)
            truth: list[float] = []
            for number, build in enumerate((EXACT, *builds)):
                step(f"index {build}", number, 1 + len(builds))
                started = time.monotonic()
                server.rebuild_index(name, build)
                wait_until_settled(store, name, CALM)
                seconds = time.monotonic() - started
                for ef in list_efs(build):
                    layout = replace(build, ef=ef)
                    step(f"search {layout}", number, 1 + len(builds))
                    found, times = time_searches(store, name, codes, SearchParams(ef=ef))
                    truth = truth or [distances[-1] for distances in found]
                    p50, p95 = np.quantile(times, (0.5, 0.95)).tolist()
                    yield IndexMeasurement(
                        layout, measure_recall(found, truth), p50, p95, estimate_memory(layout, points, dim), seconds
                    )


@contextlib.contextmanager
def make_trial_copy(store: Store, held: Held, alias: str, live: str, step: ReportStep) -> Iterator[str]:
    """Copy the live collection for the duration of the block; a copy that a killed run left is dropped first."""
    points = store.count(live)
    for name, meta in find_unused(store, alias).items():
        if meta.state == "trial":
            store.drop_collection(name)
    meta = store.metadata(live)
    name, _ = next_name(store, alias, meta.model)
    store.create_collection(name, replace(meta, state="trial", layout=replace(meta.layout, exact=True)))
    try:
        copied = 0
        for page in store.scroll(live, codes=True):
            held.check()
            store.upsert(name, page)
            copied += len(page)
            step("copy", copied, points)
        if copied != points:
            raise StoreError(
                f"{live} changed while it was copied ({count_of(points, 'point')}, then {copied:,})",
                hint="run the same command again",
            )
        yield name
    finally:
        store.drop_collection(name)


def time_searches(
    store: Store, name: str, codes: Float32[np.ndarray, "q d"], params: SearchParams
) -> tuple[list[list[float]], list[float]]:
    """Distances of each embedding's K nearest others, and the seconds of each search; runs one search at a time."""
    found, times = [], []
    for number, code in enumerate(codes):
        started = time.perf_counter()
        hits = store.query(name, code[None], K + 1, params=params)[0]
        if number >= WARM:
            times.append(time.perf_counter() - started)
            found.append([hit.distance for hit in hits][1:])
    return found, times


def measure_recall(found: Sequence[Sequence[float]], truth: Sequence[float]) -> float:
    """Share of the K nearest that were found. Any hit no farther than the true K-th counts, so that ties are fair."""
    right = [sum(d <= limit * (1 + TIE) for d in some) for some, limit in zip(found, truth, strict=True)]
    return sum(right) / (K * len(truth))
