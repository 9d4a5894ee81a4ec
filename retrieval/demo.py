"""The demo: train, ingest and search on real digits, without a server, and measure how often the hits are right.

`mnist-sample` has a fixed split into 4,000 digits to index and 1,000 to query, on which the model is not trained. The
labels are used only to measure precision.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from retrieval.config import Settings
from retrieval.errors import ModelError, NoCollection
from retrieval.evaluate.brute_force import nearest
from retrieval.evaluate.metrics import precision_at_k
from retrieval.ingest.job import ingest
from retrieval.ingest.summary import IngestSummary
from retrieval.model import saved_models
from retrieval.model.encoder import Encoder, use_compilation_cache
from retrieval.model.saved_models import SavedModel
from retrieval.schema.records import CollectionMeta
from retrieval.search.options import SearchOptions
from retrieval.search.query import Query
from retrieval.search.results import Result
from retrieval.search.run import LiveCollection, search
from retrieval.sources import Source, open_source
from retrieval.sources.arrays import read_image_array
from retrieval.store.base import Store, resolve
from retrieval.train.job import train_and_save
from retrieval.train.loop import Progress
from retrieval.train.options import TrainOptions

ALIAS = "demo"
INDEXED, QUERIED = "mnist-sample:train", "mnist-sample:test"
K = 5
EPOCHS = 20
"""Fewer than `train` would choose, so that the demo is quick; enough to be clearly better than raw pixels."""


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The result of the demo; both P@5 are of the same queries and the same indexed images."""

    model: SavedModel
    summary: IngestSummary
    meta: CollectionMeta
    results: list[Result]
    precision: float
    pixels_precision: float

    def to_json(self) -> dict[str, Any]:
        return {
            "model": str(self.model.path),
            "fingerprint": self.model.fingerprint,
            "alias": ALIAS,
            "indexed": self.summary.found,
            "queries": len(self.results),
            "p_at_5": round(self.precision, 4),
            "p_at_5_pixels": round(self.pixels_precision, 4),
        }


def run_demo(
    store: Store,
    settings: Settings,
    training: Callable[[Progress], None] = lambda progress: None,
    step: Callable[[str], None] = lambda text: None,
) -> DemoResult:
    """Run the demo; a second run reuses the model and the embeddings, and only searches."""
    indexed, queried = open_source(INDEXED, settings), open_source(QUERIED, settings)
    use_compilation_cache(settings.xla_cache)
    model = find_trained(store, settings)
    if model is None:
        step(f"Training on {INDEXED}, without labels")
        model, _ = train_and_save(
            [indexed], settings, TrainOptions(epochs=EPOCHS), training=training, make_default=False
        )
    encoder = Encoder(model)
    step("Encoding and storing")
    summary = ingest(store, encoder, [indexed], ALIAS, ledgers=settings.refused)
    step(f"Searching with {QUERIED}")
    queries = [Query(f"{QUERIED}/{entry.key}", entry) for entry in queried.entries()]
    collection = resolve(store, ALIAS)
    live = LiveCollection(collection, store.metadata(collection), lambda mark: encoder)
    results = list(search(store, live, queries, SearchOptions(k=K)))
    labels = [query.label or "" for query in queries]
    precision = precision_at_k(labels, [[hit.label or "" for hit in result.hits] for result in results], K)
    step("Searching by raw pixels, to compare")
    return DemoResult(model, summary, live.meta, results, precision, measure_pixels(indexed, queried, model))


def find_trained(store: Store, settings: Settings) -> SavedModel | None:
    """The model of an earlier demo, if both its collection and the model still exist."""
    try:
        mark = store.metadata(resolve(store, ALIAS)).model
        return saved_models.load(saved_models.find(settings.models, mark))
    except (NoCollection, ModelError):
        return None


def measure_pixels(indexed: Source, queried: Source, model: SavedModel) -> float:
    """Measure P@5 of raw pixels, by brute force."""

    def load(source: Source) -> tuple[np.ndarray, list[str]]:
        stack = read_image_array(list(source.entries()), model.config.shape)
        return stack.images.reshape(len(stack.images), -1) / np.float32(255), [e.label or "" for e in stack.entries]

    (codes, labels), (queries, wanted) = load(indexed), load(queried)
    rows, _ = nearest(queries, codes, K)
    return precision_at_k(wanted, [[labels[row] for row in found] for found in rows], K)
