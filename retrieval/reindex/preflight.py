"""Checks before a re-index starts: the engine, the sources, the model, the disk. Nothing is written here."""

import itertools
from collections.abc import Sequence
from pathlib import Path

from retrieval.config import Settings
from retrieval.errors import ModelError, SourceError, StoreError
from retrieval.ingest.forget import hint_at_forget
from retrieval.ingest.source_identity import check_source_identity
from retrieval.model import saved_models
from retrieval.model.encoder_process import EncoderProcess, ImageEncoder
from retrieval.schema.records import CollectionMeta
from retrieval.sources import Source, open_source
from retrieval.store.base import Store
from retrieval.store.naming import alias_of


def check_engine(store: Store, live: str) -> None:
    """Raise StoreError unless every peer and replica answers, because a new collection needs all of them."""
    if troubles := store.health(live).troubles:
        raise StoreError(
            f"{store.location} is not healthy: {'; '.join(troubles)}; nothing was changed",
            hint="fix this and rerun the command",
        )


def open_recorded_sources(store: Store, meta: CollectionMeta, live: str, settings: Settings) -> list[Source]:
    """Open the sources that the collection was made from.

    Raises SourceError for a source that is missing or empty, or of which only a part is recorded: the new collection
    would lack the other images. Raises UsageError if another source has taken its place.
    """
    if not meta.sources:
        raise SourceError(f"{live} has no recorded source", hint="ingest one first: retrieval ingest SOURCE")
    sources = []
    for name, spec in meta.sources.items():
        with hint_at_forget(name, alias_of(live)):
            source = open_source(spec, settings, name=name, labels=name in meta.labelled)
        if not source.whole:
            raise SourceError(
                f"source {name} is {spec}, which is only a part of what {live} holds",
                hint=f"ingest the whole folder first: retrieval ingest FOLDER --name {name}",
            )
        with hint_at_forget(name, alias_of(live)):
            list(itertools.islice(source.entries(), 1))  # raises if it is empty
        sources.append(source)
    check_source_identity(store, live, sources)
    return sources


def check_model(models: Path, encoder: ImageEncoder) -> None:
    """Raise ModelError unless the encoder's model is in this home, where searches load it from."""
    if isinstance(encoder, EncoderProcess) and saved_models.load_by_fingerprint(models, encoder.fingerprint) is None:
        raise ModelError(
            f"model {encoder.fingerprint[:8]} is not in {models}, so its embeddings could not be searched",
            hint=f"copy its folder there as {encoder.fingerprint[:16]}, and run the same command again",
        )


def check_room_for_copy(store: Store, live: str, dims: Sequence[int]) -> None:
    """Raise StoreError when a second copy does not fit on the disk.

    dims: size of the live collection's embeddings, and of the new ones
    """
    room = store.disk_usage(live)
    if room is None:
        return
    taken, free = room
    needed = int(taken * max(1.0, dims[1] / dims[0]))
    if needed > free:
        raise StoreError(
            f"{store.location}: a second copy of {live} takes about {needed // 2**20:,} MiB, and {free // 2**20:,} MiB"
            " are free; nothing was changed",
            hint="make room, or drop old collections with: retrieval collections --prune",
        )
