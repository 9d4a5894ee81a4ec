"""Is the new collection good enough to be searched? Measured on itself, and against the live one.

Labels, where there are any, are counted here and never learned from.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retrieval.evaluate.ann_recall import engine_recall
from retrieval.evaluate.metrics import effective_rank
from retrieval.ingest.summary import IngestSummary
from retrieval.model.encoder import use_compilation_cache
from retrieval.model.encoder_process import ImageEncoder
from retrieval.reindex.options import ReindexOptions
from retrieval.reindex.outcome import GateCheck
from retrieval.reindex.run import ReindexRun
from retrieval.reindex.sample import GateSample, measure_copies_found
from retrieval.reindex.swap import SAME
from retrieval.schema.filters import Filter, Match
from retrieval.schema.records import Point, codes_of
from retrieval.sources import Source
from retrieval.store.base import Store

K = 5
QUERIES = 200
"""For the engine's recall, each compared with all that the collection holds."""
FINDS_ITSELF = 0.99
"""An approximate index may miss a point now and then."""
SPREAD = 0.02
"""Root mean square distance of the codes from their mean, as a share of their length: healthy ones are near 1."""
ALIVE_RANK = 2.0
"""Effective rank of codes that differ in more than one direction; those of MNIST have 57."""


@dataclass(frozen=True, slots=True)
class ReindexGate:
    """The checks of a re-index: the new collection by itself, and beside the live one.

    encoder: of the new collection
    before: of the live collection; None when its model is not on this machine
    sources: where the images are read again
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
        """Every row, in the order in which they matter; a collection that is not complete is not looked at further."""
        rows = self.check_counts(counts)
        if all(row.passed for row in rows):
            sample = GateSample.of(self.store, self.candidate, self.live, self.sources)
            rows += self.check_codes(sample)
            if all(row.passed is not False for row in rows):
                rows += self.compare_with_live(sample)
        return rows

    def check_counts(self, counts: IngestSummary) -> list[GateCheck]:
        """As many points as images were listed, and not many fewer than in the live collection."""
        options = self.options
        count, due = self.store.count(self.candidate), counts.found - counts.failed + counts.kept
        kept = f", {counts.kept:,} refused ones among them that were there before" if counts.kept else ""
        before = self.store.count(self.live)
        least = (1 - options.max_delete) * before
        return [
            GateCheck("images", count, f"{due:,} listed and not refused{kept}", count == due > 0),
            GateCheck("images kept", count, f"at most {options.max_delete:.0%} fewer", count >= least, before),
        ]

    def check_codes(self, sample: GateSample) -> list[GateCheck]:
        """The codes are those of the images, they differ, and the engine finds them."""
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
        """Not worse than the live collection, on images that both hold."""
        options = self.options
        limit = f"at most {100 * options.max_drop:g} points lower (--max-drop)"

        def row(name: str, new: float | None, old: float | None) -> GateCheck:
            worse = None if new is None or old is None else old - new > options.max_drop
            return GateCheck(name, new, limit, None if worse is None else not worse, old)

        shared = sample.shared
        if self.before is None or not shared:
            copies = row("copies found", None, None)
        else:
            use_compilation_cache(self.run.settings.xla_cache)
            copied = sample.make_copies(self.encoder.config, self.before.config)
            copies = row(
                "copies found",
                measure_copies_found(self.store, self.candidate, self.encoder, copied, K),
                measure_copies_found(self.store, self.live, self.before, copied, K),
            )
        labelled = [point for point in shared if point.payload.get("label") is not None]
        if len({point.payload["label"] for point in labelled}) < 2:
            return [copies]
        theirs = self.store.retrieve(self.live, [point.id for point in labelled], codes=True)
        new = self.measure_precision(self.candidate, labelled)
        return [copies, row("P@5", new, self.measure_precision(self.live, [theirs[point.id] for point in labelled]))]

    def measure_precision(self, collection: str, points: Sequence[Point]) -> float | None:
        """P@5 of the points' own codes: share of the hits with a label that carry the point's; None without any.

        Other copies of the same image are left out; images without a label say nothing, and may have come meanwhile.
        """
        codes = codes_of(points)
        others = [Filter(must_not=(Match("sha256", (point.payload["sha256"],)),)) for point in points]
        hits = self.store.query(collection, codes, K, others)
        pairs = [(p.payload["label"], hit.label) for p, found in zip(points, hits, strict=True) for hit in found]
        right = [label == found for label, found in pairs if found is not None]
        return float(np.mean(right)) if right else None
