"""The gate: decide whether the new collection is good enough to go live, by itself and compared with the live one.

Labels are used for these measurements, never for training.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.evaluate.ann_recall import engine_recall
from retrieval.evaluate.metrics import effective_rank
from retrieval.ingest.summary import IngestSummary
from retrieval.model.encoder import use_compilation_cache
from retrieval.model.encoder_process import ImageEncoder
from retrieval.reindex.context import ReindexRun
from retrieval.reindex.options import ReindexOptions
from retrieval.reindex.outcome import GateCheck
from retrieval.reindex.sample import GateSample, measure_copies_found
from retrieval.reindex.swap import SAME
from retrieval.schema.filters import Filter, Match
from retrieval.schema.records import Point, codes_of
from retrieval.sources import Source
from retrieval.store.base import Store

K = 5
PRECISION = f"P@{K}"
QUERIES = 200
"""Queries for the engine's recall, each compared with all points of the collection."""
FINDS_ITSELF = 0.99
"""Least share of images that must find themselves; an approximate index may miss a few."""
SPREAD = 0.02
"""Least root mean square distance of the embeddings from their mean, as a share of their length; usually near 1."""
ALIVE_RANK = 2.0
"""Least effective rank; embeddings that vary along one direction only have 1, those of MNIST 57."""


@dataclass(frozen=True, slots=True)
class ReindexGate:
    """The checks of a re-index: the new collection by itself, and compared with the live one.

    encoder: of the new collection
    before: of the live collection; None if its model is not on this machine
    sources: from which images are read again
    """

    run: ReindexRun
    encoder: ImageEncoder
    before: ImageEncoder | None
    sources: Sequence[Source]

    @property
    def store(self) -> Store:
        return self.run.store

    @property
    def options(self) -> ReindexOptions:
        return self.run.options

    @property
    def candidate(self) -> str:
        """The new collection."""
        return self.run.outcome.collection

    @property
    def live(self) -> str:
        """The collection that is searched meanwhile."""
        return self.run.outcome.live

    def measure(self, counts: IngestSummary) -> list[GateCheck]:
        """All checks, the most important first; they stop early if images are missing."""
        rows = self.check_counts(counts)
        if all(row.passed for row in rows):
            sample = GateSample.of(self.store, self.candidate, self.live, self.sources)
            rows += self.check_codes(sample)
            if all(row.passed is not False for row in rows):
                rows += self.compare_with_live(sample)
        return rows

    def check_counts(self, counts: IngestSummary) -> list[GateCheck]:
        """Check that every listed image has a point, and that they are not many fewer than in the live collection."""
        options = self.options
        count, due = self.store.count(self.candidate), counts.found - counts.failed + counts.kept
        kept = f", including {counts.kept:,} refused ones that were stored before" if counts.kept else ""
        before = self.store.count(self.live)
        least = (1 - options.max_delete) * before
        return [
            GateCheck("images", count, f"{due:,} listed and not refused{kept}", count == due > 0),
            GateCheck("images kept", count, f"at most {options.max_delete:.0%} fewer", count >= least, before),
        ]

    def check_codes(self, sample: GateSample) -> list[GateCheck]:
        """Check that the embeddings belong to the images, that they vary, and that the engine finds them."""
        options = self.options
        codes = sample.codes
        loaded = sample.read(self.encoder.config)
        again = self.encoder.encode(loaded.pixels)
        stored = codes[loaded.rows]
        nearest = self.store.query(self.candidate, again, 1)
        found = np.array([bool(hits) and hits[0].distance <= SAME for hits in nearest], bool)
        share = float((found & (np.linalg.norm(stored - again, axis=1) <= SAME)).mean()) if len(found) else 0.0
        recall = engine_recall(self.store, self.candidate, codes[:QUERIES], K).recall
        centred = codes - codes.mean(axis=0)
        length = float(np.sqrt((codes**2).sum(axis=1).mean()))
        spread = float(np.sqrt((centred**2).sum(axis=1).mean())) / length if length else 0.0
        few = len(codes) < 3
        rank, least = effective_rank(centred), min(ALIVE_RANK, self.encoder.config.dim)
        return [
            GateCheck("finds itself", share, f"at least {FINDS_ITSELF:.0%} of {len(found):,}", share >= FINDS_ITSELF),
            GateCheck(
                "recall at 5", recall, f"at least {options.min_recall:g} (--min-recall)", recall >= options.min_recall
            ),
            GateCheck("spread", spread, f"at least {SPREAD:g}", None if few else spread >= SPREAD),
            GateCheck("effective rank", rank, f"at least {least:g}", None if few else rank >= least),
        ]

    def compare_with_live(self, sample: GateSample) -> list[GateCheck]:
        """Check that searches are not worse than in the live collection, on images that both hold."""
        options = self.options
        limit = f"at most {100 * options.max_drop:g} points lower (--max-drop)"

        def compare(name: str, new: float | None, old: float | None) -> GateCheck:
            worse = None if new is None or old is None else old - new > options.max_drop
            return GateCheck(name, new, limit, None if worse is None else not worse, old)

        shared = sample.shared
        if self.before is None or not shared:
            copies = compare("copies found", None, None)
        else:
            use_compilation_cache(self.run.settings.xla_cache)
            config, before = self.encoder.config, self.before.config
            copied = sample.make_copies(config, before)
            copied_before = copied if config.fit == before.fit else sample.make_copies(before, config)
            copies = compare(
                "copies found",
                measure_copies_found(self.store, self.candidate, self.encoder, copied, K),
                measure_copies_found(self.store, self.live, self.before, copied_before, K),
            )
        labelled = [point for point in shared if point.payload.get("label") is not None]
        theirs = self.store.retrieve(self.live, [point.id for point in labelled], codes=True)
        # the live collection lacks the label of an image that an ingest without --labels has added
        labelled = [point for point in labelled if theirs[point.id].payload.get("label") is not None]
        if len({point.payload["label"] for point in labelled}) < 2:
            return [copies]
        new = self.measure_precision(self.candidate, labelled)
        return [
            copies,
            compare(PRECISION, new, self.measure_precision(self.live, [theirs[point.id] for point in labelled])),
        ]

    def measure_precision(self, collection: str, points: Sequence[Point]) -> float | None:
        """P@5 of the points' embeddings as queries: share of the labelled hits with the query's label; None without.

        Copies of the query are left out, and so are hits without a label.
        """
        codes = codes_of(points)
        others = [Filter(must_not=(Match("sha256", (point.payload["sha256"],)),)) for point in points]
        hits = self.store.query(collection, codes, K, others)
        pairs = [(p.payload["label"], hit.label) for p, found in zip(points, hits, strict=True) for hit in found]
        right = [label == found for label, found in pairs if found is not None]
        return float(np.mean(right)) if right else None
