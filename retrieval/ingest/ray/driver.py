"""An ingest on Ray, seen from the driver: workers process pages, this process holds the lock and keeps the counts."""

from array import array
from collections.abc import Generator, Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from retrieval.errors import RetrievalError, UsageError
from retrieval.ingest.context import IngestRun, Target
from retrieval.ingest.options import RayCluster
from retrieval.ingest.plan import Planner
from retrieval.ingest.ray.cluster import work_on_ray
from retrieval.ingest.ray.worker import PageResult, SourceSpec, Tally, WorkerJob
from retrieval.ingest.summary import WORK
from retrieval.model.resolve import load_collection_model
from retrieval.sources import Entry
from retrieval.sources.read import Refused

KEYS = ("qdrant_api_key", "qdrant_from_api_key", "api_key")
"""Settings that are not sent to workers, because Ray does not encrypt what it sends."""


def run_on_ray(target: Target, planner: Planner, ray: RayCluster) -> Generator[None]:
    """Fill the target; yields after each written page, with the same counts as a run without Ray.

    Raises UsageError for the embedded engine, which belongs to one process, Locked, and as `work_on_ray` and
    `check_all_done`.
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
        options=replace(run.options, ray=None),
        ledger=run.ledger,
        others=run.others,
    )
    contents = array("Q")
    listed, worked = dict[str, Tally](), dict.fromkeys(job.specs, Tally())
    for result in work_on_ray(job, ray.address, run.options.workers):
        if result.listed is not None:
            listed[result.source] = result.listed
            continue
        target.held.check()
        worked[result.source] = worked[result.source].plus(result.tally)
        contents.frombytes(bytes.fromhex(result.contents))
        for name in WORK:
            setattr(summary, name, getattr(summary, name) + result.counts[name])
        planner.add_seen(result.source, result.seen)
        record_page(result, run)
        yield
    check_all_done(listed, worked)
    if not run.options.force:  # two workers may have encoded the same content at the same time
        twice = len(contents) - len(np.unique(contents))
        summary.encoded, summary.copied = summary.encoded - twice, summary.copied + twice
    summary.listed = True


def check_all_done(listed: Mapping[str, Tally], worked: Mapping[str, Tally]) -> None:
    """Raise RetrievalError unless each source was listed to its end, and exactly its images were processed."""
    for source, done in worked.items():
        if (named := listed.get(source)) != done:
            found = "did not reach its end" if named is None else f"has {named.images:,} images"
            raise RetrievalError(
                f"{source}: its listing {found}, but {done.images:,} were processed: a worker died while listing, and"
                " the source has changed since; nothing was deleted",
                hint="run the same command again",
            )


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
