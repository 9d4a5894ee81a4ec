"""Checks of the collection that the alias points at: its model, points, index, replicas, sources and disk space."""

import threading
from collections.abc import Iterator

from retrieval.config import Settings
from retrieval.errors import RetrievalError
from retrieval.model.resolve import load_collection_model
from retrieval.ops.doctor.checks import Check, CollectionContext, Finding, explain_error
from retrieval.schema.records import seconds_since
from retrieval.sources import open_source
from retrieval.sources.dataset import needs_download
from retrieval.util.wording import count_of

SETTLING = {
    "yellow": ("is being rebuilt; searches work, but more slowly", "check again in some minutes"),
    "grey": ("is paused after a restart; searches work", "check again in a minute: this check has resumed it"),
}
"""What the status of a collection that is still being optimised means, and what to do."""

SECONDS = 10.0
"""How long a source may take to list its first image."""


def inspect_alias(context: CollectionContext) -> Iterator[Finding]:
    """The collection that the alias points at, its embeddings' size, its layout, and whether its date makes sense."""
    meta = context.meta or context.store.metadata(context.collection)
    found = f"{context.alias} → {context.collection}, {meta.dim} numbers per embedding, {meta.layout}"
    yield Finding("alias", "ok", found)
    if seconds_since(meta.created) is None:
        found = f"{context.collection} records {meta.created} as its date, which lies in the future"
        fix = f"set the clock right; {context.call('retrieval reindex')} makes a collection with a new date"
        yield Finding("alias", "warning", found, fix)


def inspect_model(context: CollectionContext) -> Iterator[Finding]:
    """Whether the collection's model is on this machine, undamaged."""
    if context.meta:
        saved = load_collection_model(context.settings, context.collection, context.meta.model)
        yield Finding("its model", "ok", f"{saved.fingerprint[:8]} is on this machine")


def inspect_points(context: CollectionContext) -> Iterator[Finding]:
    """The number of points; none is an error."""
    number = context.store.count(context.collection)
    fix = None if number else context.call("retrieval ingest SOURCE")
    yield Finding("points", "ok" if number else "error", f"{number:,}", fix)


def inspect_index(context: CollectionContext) -> Iterator[Finding]:
    """Whether the server has indexed all that was written; the embedded engine has no index and no row."""
    status = context.facts.get("status")
    if status in SETTLING:
        found, fix = SETTLING[status]
        yield Finding("index", "warning", f"{status}: {found}", fix)
    elif status == "green":
        found = f"green, {count_of(context.facts['indexed'], 'embedding')} indexed, the others compared one by one"
        yield Finding("index", "ok", found)


def inspect_replicas(context: CollectionContext) -> Iterator[Finding]:
    """Whether every shard answers on every peer."""
    troubles = context.store.health(context.collection).troubles
    for trouble in troubles:
        fix = "bring back what is down first, and check again; the server's log says more"
        yield Finding("replicas", "error", trouble, fix)
    if not troubles and "copies" in context.facts:
        shards = (
            f", {context.facts['shards']} shards of {context.facts['replicas']}" if "shards" in context.facts else ""
        )
        yield Finding("replicas", "ok", f"{context.facts['active']} of {context.facts['copies']} are active{shards}")


def inspect_replication(context: CollectionContext) -> Iterator[Finding]:
    """Whether a cluster survives the loss of a node."""
    if context.facts.get("peers", 1) > 1 and context.facts.get("replicas") == 1:
        found = f"one replica of each embedding on {context.facts['peers']} peers: if one is lost, searches fail"
        yield Finding("replication", "warning", found, context.call("retrieval reindex --replicas 2"))


def inspect_sources(context: CollectionContext) -> Iterator[Finding]:
    """Whether ingest and reindex can read each source; searches do not need them."""
    for name, spec in (context.meta.sources if context.meta else {}).items():
        if needs_download(spec, context.settings):
            found = f"{name} → {spec}, not on this machine: the next ingest would download it"
            yield Finding("sources", "ok", found)
        elif trouble := find_source_trouble(name, spec, context.settings):
            moved = context.call(f"retrieval ingest FOLDER --name {name}")
            yield Finding("sources", "warning", trouble, f"mount it; or if it has moved: {moved}")
        else:
            yield Finding("sources", "ok", f"{name} → {spec}")


def inspect_disk_space(context: CollectionContext) -> Iterator[Finding]:
    """Whether the embedded engine's disk has room for a second copy; a server does not report its disk."""
    if usage := context.store.disk_usage(context.collection):
        taken, free = usage
        short = free < taken
        fix = "make room, or retrieval collections --prune; a reindex needs as much again" if short else None
        found = f"takes {taken // 2**20:,} MiB, and {free // 2**20:,} MiB are free"
        yield Finding("room", "warning" if short else "ok", found, fix)


CHECKS: tuple[Check[CollectionContext], ...] = (
    Check("alias", inspect_alias, "choose another --alias, or make one: retrieval ingest SOURCE"),
    Check("its model", inspect_model, "copy its folder to this machine, or retrieval reindex --model MODEL"),
    Check("points", inspect_points, "check again when the engine answers"),
    Check("index", inspect_index, "check again when the engine answers"),
    Check("replicas", inspect_replicas, "read the server's log"),
    Check("replication", inspect_replication, "check again when the engine answers"),
    Check("sources", inspect_sources, "mount it, or ingest from where it is now"),
    Check("room", inspect_disk_space, "make room"),
)


def find_source_trouble(name: str, spec: str, settings: Settings) -> str | None:
    """Why the source cannot be read; None when it lists an image. A data set must have been downloaded before."""
    trouble = [f"{name} → {spec} does not answer within {SECONDS:.0f} s"]

    def list_one() -> None:
        try:
            next(open_source(spec, settings, name=name).entries())
            trouble.clear()
        except (RetrievalError, OSError) as error:
            trouble[:] = [f"{name}: {explain_error(error)}"]

    thread = threading.Thread(target=list_one, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return trouble[0] if trouble else None
