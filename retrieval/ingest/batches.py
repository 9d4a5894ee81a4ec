"""Make points of images, in batches. Images of the same content are encoded once."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from retrieval.ingest.context import IngestRun
from retrieval.ingest.image_url import make_image_url
from retrieval.ingest.options import IngestOptions
from retrieval.ingest.payload import collect_user_fields, make_payload
from retrieval.ingest.plan import Copied, PayloadUpdate, ToOpen, check_payload, drop_payload
from retrieval.ingest.stale_points import is_stale, mark_stale
from retrieval.model.config import ModelConfig
from retrieval.model.encoder_process import ImageEncoder
from retrieval.schema.arrays import Float32
from retrieval.schema.filters import Filter, Match
from retrieval.schema.records import Payload, Point
from retrieval.sources import Entry
from retrieval.sources.read import Loaded, Refused
from retrieval.store.base import Store

BATCH = 256
"""Images encoded and written together: enough to keep the encoder's threads and the engines busy. At most three batches
are in flight, so that a killed run loses at most 768 encoded images."""
BATCH_BYTES = 64 * 2**20
"""Maximum size of a batch's pixels; batches of large images have fewer of them."""

Code = Float32[np.ndarray, " d"]
Item = Loaded | Refused | PayloadUpdate | Copied


@dataclass(slots=True)
class Batch:
    """What is written together.

    points: to be stored with their embeddings
    payloads: id → payload of points that keep their embedding
    stale: id → payload, marked stale, of points whose images were refused
    refused: images that cannot be used
    entries: the images that were read
    encoded: SHA-256 of each content that was encoded for this batch
    """

    points: list[Point] = field(default_factory=list)
    payloads: dict[str, Payload] = field(default_factory=dict)
    stale: dict[str, Payload] = field(default_factory=dict)
    refused: list[Refused] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    encoded: list[str] = field(default_factory=list)

    @property
    def copied(self) -> int:
        """Number of points whose embedding was known already."""
        return len(self.points) - len(self.encoded)


class BatchEncoder:
    """Makes batches. It remembers the embeddings of the last few batches, which may not be stored yet."""

    def __init__(self, run: IngestRun, encoder: ImageEncoder) -> None:
        self._run, self._encoder = run, encoder
        self._recent: dict[str, Code] = {}

    def make_batches(self, items: Iterable[Item], size: int) -> Iterator[Batch]:
        """Batches of `size` items each."""
        items = iter(items)
        while window := list(itertools.islice(items, size)):
            batch = self._make_batch(window)
            yield batch
            self._recent |= {p.payload["sha256"]: p.code for p in batch.points if p.code is not None}
            for old in list(self._recent)[: -4 * size]:
                del self._recent[old]

    def _make_batch(self, window: Sequence[Item]) -> Batch:
        options, batch = self._run.options, Batch()
        for refused in (item for item in window if isinstance(item, Refused)):
            image = refused.entry
            if isinstance(image, ToOpen) and image.held:
                refused = replace(refused, held=True)
                if refused.lasting and not is_stale(image.before):
                    batch.stale[image.id] = mark_stale(image.before)
            again = refused.again or (not refused.lasting and self._run.ledger.was_unreadable(image))
            batch.refused.append(replace(drop_payload(refused), again=again))
        batch.payloads = {item.id: item.payload for item in window if isinstance(item, PayloadUpdate)}
        fresh: list[tuple[str, Loaded, Payload]] = []
        for item in (item for item in window if isinstance(item, Loaded)):
            image = item.entry
            assert isinstance(image, ToOpen)
            given = collect_user_fields(image, options.metadata)
            payload = make_payload(item, image.before, given, make_image_url(options.public_url, image.id))
            if too_large := check_payload(image.as_listed(), payload, held=image.held):
                batch.refused.append(too_large)
                continue
            batch.entries.append(image)
            if image.before.get("sha256") == item.sha256 and not options.force:
                batch.payloads[image.id] = payload
            else:
                fresh.append((image.id, item, payload))
        codes = self._find_or_encode([item for _, item, _ in fresh], batch)
        batch.points = [Point(id_, codes[item.sha256], payload) for id_, item, payload in fresh]
        batch.points += [item.point for item in window if isinstance(item, Copied)]
        return batch

    def _find_or_encode(self, items: Sequence[Loaded], batch: Batch) -> dict[str, Code]:
        """SHA-256 → embedding, encoded now where it is not known."""
        wanted = {item.sha256: item for item in items}
        codes: dict[str, Code] = {}
        if not self._run.options.force:
            codes = {sha: self._recent[sha] for sha in wanted if sha in self._recent}
            codes |= find_codes(self._run.store, self._run.collection, wanted.keys() - codes.keys())
        if new := [item for sha, item in wanted.items() if sha not in codes]:
            made = self._encoder.encode(np.stack([item.image.pixels for item in new]))
            codes |= {item.sha256: code for item, code in zip(new, made, strict=True)}
            batch.encoded = [item.sha256 for item in new]
        return codes


def find_codes(store: Store, collection: str, contents: set[str]) -> dict[str, Code]:
    """Embeddings that the collection holds already, one for each SHA-256."""
    codes: dict[str, Code] = {}
    while contents:
        where = Filter(must=(Match("sha256", tuple(sorted(contents))),))
        page = next(store.scroll(collection, where, codes=True, page=len(contents)), [])
        if not page:
            break
        codes |= {point.payload["sha256"]: point.code for point in page if point.code is not None}
        contents = contents - codes.keys()
    return codes


def choose_batch_size(config: ModelConfig, options: IngestOptions) -> int:
    """Number of images in a batch, as given or by their size."""
    return options.batch or max(1, min(BATCH, BATCH_BYTES // config.shape.nbytes))


def write_batch(run: IngestRun, batch: Batch) -> None:
    """Write one batch, then count it, so that the summary never counts what is not stored."""
    run.store.upsert(run.collection, batch.points)
    run.store.set_payload(run.collection, {**batch.payloads, **batch.stale})
    summary = run.summary
    summary.refused += batch.refused
    summary.newly_refused += sum(not item.again for item in batch.refused)
    summary.encoded += len(batch.encoded)
    summary.copied += batch.copied
    unchanged = len(batch.payloads)  # counted before the `+=`, because the planner's thread adds to the same field
    summary.unchanged += unchanged
