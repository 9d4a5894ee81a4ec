"""Is the new collection good enough to be searched? Measured on itself, and against the live one.

Labels, where there are any, are counted here and never learned from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from retrieval.encode import use_compilation_cache
from retrieval.evaluate.engine import engine_recall
from retrieval.evaluate.metrics import effective_rank
from retrieval.filters import Filter, Match
from retrieval.ingest.encoder import Encoding
from retrieval.ingest.summary import Summary
from retrieval.records import Point
from retrieval.reindex.options import Options
from retrieval.reindex.outcome import Check
from retrieval.reindex.sample import Sample, copies_found
from retrieval.reindex.swap import SAME
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
class Gate:
    """What is compared. before: the live collection's encoder, None when its model is not on this machine."""

    store: Store
    candidate: str
    live: str
    encoder: Encoding
    before: Encoding | None
    sources: Sequence[Source]
    xla_cache: Path

    def checks(self, counts: Summary, options: Options) -> list[Check]:
        """Every row, in the order in which they matter; a collection that is not complete is not looked at further."""
        rows = self.counted(counts, options)
        if all(row.passed for row in rows):
            sample = Sample.of(self.store, self.candidate, self.live, self.sources)
            rows += self.sound(sample, options)
            if all(row.passed is not False for row in rows):
                rows += self.compared(sample, options)
        return rows

    def counted(self, counts: Summary, options: Options) -> list[Check]:
        """As many as were listed, and not many fewer than before."""
        count, due = self.store.count(self.candidate), counts.found - counts.failed + counts.kept
        kept = f", {counts.kept:,} refused ones among them that were there before" if counts.kept else ""
        before = self.store.count(self.live)
        least = (1 - options.max_delete) * before
        return [
            Check("images", count, f"{due:,} listed and not refused{kept}", count == due > 0),
            Check("images kept", count, f"at most {options.max_delete:.0%} fewer", count >= least, before),
        ]

    def sound(self, sample: Sample, options: Options) -> list[Check]:
        """The codes are those of the images, they differ, and the engine finds them."""
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
            Check("finds itself", share, f"at least {FINDS_ITSELF:.0%} of {len(found):,}", share >= FINDS_ITSELF),
            Check(
                "recall at 5", recall, f"at least {options.min_recall:g} (--min-recall)", recall >= options.min_recall
            ),
            Check("spread", spread, f"at least {SPREAD:g}", None if few else spread >= SPREAD),
            Check("effective rank", rank, f"at least {least:g}", None if few else rank >= least),
        ]

    def compared(self, sample: Sample, options: Options) -> list[Check]:
        """Not worse than the live collection, on images that both hold."""
        limit = f"at most {100 * options.max_drop:g} points lower (--max-drop)"

        def row(name: str, new: float | None, old: float | None) -> Check:
            worse = None if new is None or old is None else old - new > options.max_drop
            return Check(name, new, limit, None if worse is None else not worse, old)

        shared = sample.shared
        if self.before is None or not shared:
            copies = row("copies found", None, None)
        else:
            use_compilation_cache(self.xla_cache)
            copied = sample.copies(self.encoder.config, self.before.config)
            copies = row(
                "copies found",
                copies_found(self.store, self.candidate, self.encoder, copied, K),
                copies_found(self.store, self.live, self.before, copied, K),
            )
        labelled = [point for point in shared if point.payload.get("label") is not None]
        if len({point.payload["label"] for point in labelled}) < 2:
            return [copies]
        theirs = self.store.retrieve(self.live, [point.id for point in labelled], codes=True)
        new = self.precision(self.candidate, labelled)
        return [copies, row("P@5", new, self.precision(self.live, [theirs[point.id] for point in labelled]))]

    def precision(self, collection: str, points: Sequence[Point]) -> float | None:
        """P@5 of the points' own codes: share of the hits with a label that carry the point's; None without any.

        Other copies of the same image are left out; images without a label say nothing, and may have come meanwhile.
        """
        codes: Float32[np.ndarray, "n d"] = np.array([point.code for point in points], np.float32)
        others = [Filter(must_not=(Match("sha256", (point.payload["sha256"],)),)) for point in points]
        hits = self.store.query(collection, codes, K, others)
        pairs = [(p.payload["label"], hit.label) for p, found in zip(points, hits, strict=True) for hit in found]
        right = [label == found for label, found in pairs if found is not None]
        return float(np.mean(right)) if right else None
