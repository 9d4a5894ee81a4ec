"""An ingest on Ray, seen from the driver: workers process pages, this process holds the lock and keeps the counts."""

import contextlib
from array import array
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from retrieval.errors import UsageError
from retrieval.ingest.context import IngestRun, Listing, Target
from retrieval.ingest.options import RayCluster
from retrieval.ingest.plan import Planner, cut_pages
from retrieval.ingest.ray.cluster import work_on_ray
from retrieval.ingest.ray.worker import PageResult, Rows, SourceSpec, WorkerJob, pack_entries
from retrieval.ingest.summary import WORK
from retrieval.model.resolve import load_collection_model
from retrieval.sources import Entry
from retrieval.sources.read import Refused
from retrieval.util.prefetch import prefetch

KEYS = ("qdrant_api_key", "qdrant_from_api_key", "api_key")
"""Settings that are not sent to workers, because Ray does not encrypt what it sends."""
PAGES_AHEAD = 2
"""Pages that are listed while the workers are busy."""


def run_on_ray(target: Target, planner: Planner, listings: Sequence[Listing], ray: RayCluster) -> Generator[None]:
    """Fill the target; yields after each written page, with the same counts as a run without Ray.

    Raises UsageError for the embedded engine, which belongs to one process, Locked, and as `work_on_ray`.
    """
    run, summary = planner.run, planner.run.summary
    if target.store.server is None:
        raise UsageError(
            "the embedded engine belongs to one process", option="runner", hint="set QDRANT_URL to a server"
        )
    job = WorkerJob(
        settings=ray.settings.model_copy(update=dict.fromkeys(KEYS)),
        alias=target.alias,
        collection=target.collection,
        holder=target.held.holder,
        model=load_collection_model(ray.settings, target.collection, target.encoder.fingerprint),
        specs={source.name: SourceSpec(source.name, source.spec, source.labels) for source in run.sources},
        options=replace(run.options, ray=None, prune=False),
        ledger=run.ledger,
        others=run.others,
    )
    contents = array("Q")
    with contextlib.closing(prefetch(list_pages(planner, listings), PAGES_AHEAD)) as pages:
        for result in work_on_ray(job, pages, ray.address, run.options.workers):
            target.held.check()
            contents.frombytes(bytes.fromhex(result.contents))
            for name in WORK:
                setattr(summary, name, getattr(summary, name) + result.counts[name])
            record_page(result, run)
            yield
    if not run.options.force:  # two workers may have encoded the same content at the same time
        twice = len(contents) - len(np.unique(contents))
        summary.encoded, summary.copied = summary.encoded - twice, summary.copied + twice
    summary.listed = True


def list_pages(planner: Planner, listings: Sequence[Listing]) -> Iterator[tuple[str, Rows]]:
    """Each page of the listings as it is sent to a worker, with its source's name."""
    for source, entries in listings:
        for page in cut_pages(entries):
            planner.note_listed(page)
            yield source.name, pack_entries(page, source)


def record_page(result: PageResult, run: IngestRun) -> None:
    """Record in the ledger which of the page's images were refused, and which no longer are."""
    source = next(source for source in run.sources if source.name == result.source)

    def make_entry(key: str, size: int = 0, time: int = 0) -> Entry:
        return Entry(result.source, key, size, time, None, partial(source.read, key))

    run.ledger.settle([make_entry(key) for key in result.settled])
    if result.refused:
        items = [Refused(make_entry(*row), *why) for *row, why in ((*one[:3], one[3:]) for one in result.refused)]
        run.report_refused(run.ledger.add(items))
        run.summary.refused += items
        run.summary.newly_refused += sum(not item.again for item in items)
