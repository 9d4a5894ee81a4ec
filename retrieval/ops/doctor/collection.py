"""Checks of the collection that the alias points at: its model, its points, its replicas, its index, its sources."""

import threading
from collections.abc import Iterator

from retrieval.config import Settings
from retrieval.errors import RetrievalError
from retrieval.model.resolve import load_collection_model
from retrieval.ops.doctor.checks import Check, Live, Row, in_one_line
from retrieval.schema.records import seconds_since
from retrieval.sources import open_source
from retrieval.sources.dataset import is_elsewhere

SETTLING = {
    "yellow": ("is being rebuilt: searches go on, slower for now", "wait, and look again in some minutes"),
    "grey": ("waits for a write, as after a restart: searches go on", "look again in a minute: this look has woken it"),
}
"""What the status of a collection that is not settled means, and what to do."""

SECONDS = 10.0
"""How long a source may take to name its first image."""


def named(case: Live) -> Iterator[Row]:
    """What the alias points at, and what that says of itself."""
    meta = case.meta or case.store.metadata(case.collection)
    found = f"{case.alias} → {case.collection}, {meta.dim} numbers a code, {meta.layout}"
    yield Row("alias", "ok", found)
    if seconds_since(meta.created) is None:
        found = f"{case.collection} was made on {meta.created} by its own account, which lies in the future"
        yield Row("alias", "warning", found, f"set the clock right; {case.call('retrieval reindex')} writes a new time")


def model(case: Live) -> Iterator[Row]:
    """The model that made the codes is on this machine, and whole."""
    if case.meta:
        saved = load_collection_model(case.settings, case.collection, case.meta.model)
        yield Row("its model", "ok", f"{saved.fingerprint[:8]} is on this machine")


def points(case: Live) -> Iterator[Row]:
    """There is something to find."""
    number = case.store.count(case.collection)
    mend = None if number else case.call("retrieval ingest SOURCE")
    yield Row("points", "ok" if number else "error", f"{number:,}", mend)


def index(case: Live) -> Iterator[Row]:
    """Whether the engine has done with what was written; embedded, every code is compared."""
    status = case.facts.get("status")
    if status in SETTLING:
        found, mend = SETTLING[status]
        yield Row("index", "warning", f"{status}: {found}", mend)
    elif status == "green":
        yield Row("index", "ok", f"green, {case.facts['indexed']:,} codes indexed, the others compared one by one")


def replicas(case: Live) -> Iterator[Row]:
    """Every part of it answers, on every peer."""
    troubles = case.store.health(case.collection).troubles
    mend = "bring back what is away first, and look again; the log of the server says more"
    for trouble in troubles:
        yield Row("replicas", "error", trouble, mend)
    if not troubles and "copies" in case.facts:
        shards = f", {case.facts['shards']} shards of {case.facts['replicas']}" if "shards" in case.facts else ""
        yield Row("replicas", "ok", f"{case.facts['active']} of {case.facts['copies']} are active{shards}")


def replication(case: Live) -> Iterator[Row]:
    """On a cluster, one node may be lost."""
    if case.facts.get("peers", 1) > 1 and case.facts.get("replicas") == 1:
        found = f"one replica of each code on {case.facts['peers']} peers: when one is lost, searches fail"
        yield Row("replication", "warning", found, case.call("retrieval reindex --replicas 2"))


def sources(case: Live) -> Iterator[Row]:
    """What ingest and reindex would read; searches need none of it."""
    for name, spec in (case.meta.sources if case.meta else {}).items():
        if is_elsewhere(spec, case.settings):
            yield Row("sources", "ok", f"{name} → {spec}, not on this machine: the next ingest would download it")
        elif trouble := reached(name, spec, case.settings):
            moved = case.call(f"retrieval ingest FOLDER --name {name}")
            yield Row("sources", "warning", trouble, f"mount it; or if it has moved: {moved}")
        else:
            yield Row("sources", "ok", f"{name} → {spec}")


def room(case: Live) -> Iterator[Row]:
    """On the embedded engine's disk, for a second copy; a server does not say."""
    if found := case.store.disk_usage(case.collection):
        taken, free = found
        short = free < taken
        mend = "make room, or retrieval collections --prune; a reindex needs it" if short else None
        words = f"takes {taken // 2**20:,} MiB, and {free // 2**20:,} MiB are free"
        yield Row("room", "warning" if short else "ok", words, mend)


CHECKS: tuple[Check[Live], ...] = (
    Check("alias", named, "choose another --alias, or make one: retrieval ingest SOURCE"),
    Check("its model", model, "copy its folder to this machine, or retrieval reindex --model MODEL"),
    Check("points", points, "look again when the engine answers"),
    Check("index", index, "look again when the engine answers"),
    Check("replicas", replicas, "look into the server's log"),
    Check("replication", replication, "look again when the engine answers"),
    Check("sources", sources, "mount it, or ingest from where it is now"),
    Check("room", room, "make room"),
)


def reached(name: str, spec: str, settings: Settings) -> str | None:
    """What keeps it from being read, in words; None when it names an image. A data set must be here already."""
    said = [f"{name} → {spec} does not answer within {SECONDS:.0f} s"]

    def look() -> None:
        try:
            next(open_source(spec, settings, name=name).entries())
            said.clear()
        except (RetrievalError, OSError) as error:
            said[:] = [f"{name}: {in_one_line(error)}"]

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(SECONDS)
    return said[0] if said else None
