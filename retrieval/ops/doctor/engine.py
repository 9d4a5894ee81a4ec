"""Checks of the engine: whether every node answers, which jobs hold locks, and which collections are unused."""

from collections.abc import Iterator
from typing import NamedTuple

from retrieval.errors import StoreDamaged, StoreError, StoreUnavailable
from retrieval.ops.doctor.checks import Check, EngineContext, Finding, explain_error
from retrieval.store.naming import alias_of, time_of
from retrieval.util.wording import count_of

CLUSTER = "see 'A cluster' in docs/operations.md"


def inspect_version(context: EngineContext) -> Iterator[Finding]:
    """The engine, its version and its place."""
    facts, store = context.facts, context.store
    version = f"Qdrant {facts['server']}" if "server" in facts else f"Qdrant Edge {facts['edge']}"
    yield Finding("engine", "ok", f"{store.engine}, {version}, at {store.location}")


def inspect_collections(context: EngineContext) -> Iterator[Finding]:
    """Whether the points of every collection that an alias points at can be counted."""
    context.store.check()
    in_use = set(context.store.aliases().values())
    yield Finding("collections", "ok", f"{len(in_use)} in use, each can be counted")


def inspect_nodes(context: EngineContext) -> Iterator[Finding]:
    """Whether each address in QDRANT_URL answers, and all belong to one cluster."""
    nodes = context.facts.get("nodes", {})
    for url, node in nodes.items():
        if "error" in node:
            yield Finding("node", "error", f"{url} {node['error']}", f"start it; if it is gone for good, {CLUSTER}")
        elif node["peers"] < len(nodes):
            found = f"{url} knows of {count_of(node['peers'], 'node')}, and QDRANT_URL names {len(nodes)}"
            fix = "name the nodes of one cluster only; otherwise embeddings are written to several"
            yield Finding("node", "error", found, fix)
        else:
            yield Finding("node", "ok", f"{url} answers, Qdrant {node['version']}")


def inspect_peers(context: EngineContext) -> Iterator[Finding]:
    """Whether the cluster's peers reach each other, those that QDRANT_URL does not name too."""
    facts = context.facts
    for peer in facts.get("peers_away", ()):
        found = f"peer {peer} does not answer the others"
        yield Finding("peers", "error", found, f"start it, or remove it: {CLUSTER}")
    if (number := facts.get("peers", 1)) > 1 and not facts["peers_away"]:
        named = min(len(facts["nodes"]), number)
        yield Finding("peers", "ok", f"{number}, which reach each other; QDRANT_URL names {named} of them")


def inspect_locks(context: EngineContext) -> Iterator[Finding]:
    """For information: a lock is not a problem, and the next job takes over that of a dead one."""
    locks = context.facts.get("locks", {})
    for alias, holder in locks.items():
        yield Finding("locks", "ok", f"{alias}: {holder}")
    if not locks:
        yield Finding("locks", "ok", "no job holds one")


def inspect_leftovers(context: EngineContext) -> Iterator[Finding]:
    """Collections that no alias points at: `rollback` can go back to some of them, the others are not used."""
    found = sort_unused(context)
    if found.previous:
        yield Finding("leftovers", "ok", f"{len(found.previous)} previous ones, kept for `retrieval rollback`")
    if found.unused:
        fix = "retrieval collections --prune drops them, and the ones kept for a rollback too"
        yield Finding("leftovers", "warning", f"no alias points at {', '.join(found.unused)}", fix)
    for reason in found.damaged:
        yield Finding("leftovers", "warning", reason, "retrieval collections --prune drops it; no alias points at it")
    if found.silent:
        fix = "check again when all nodes answer"
        yield Finding("leftovers", "warning", f"{found.silent} does not answer", fix)
    if not any(found):
        yield Finding("leftovers", "ok", "none")


class Leftovers(NamedTuple):
    """Collections that no alias points at.

    previous: `rollback` can go back to them
    unused: name and state of those that it cannot go back to
    damaged: why each of these cannot be opened
    silent: the first that did not answer; no others were asked after it
    """

    previous: list[str]
    unused: list[str]
    damaged: list[str]
    silent: str = ""


def sort_unused(context: EngineContext) -> Leftovers:
    """The collections that no alias points at, except those that a job is filling now."""
    found = Leftovers([], [], [])
    store, aliases = context.store, context.store.aliases()
    for name in store.collections():
        alias = alias_of(name)
        if alias is None or name in aliases.values():
            continue
        try:
            state = store.metadata(name).state
        except StoreUnavailable:
            return found._replace(silent=name)
        except StoreDamaged as error:
            found.damaged.append(explain_error(error))
            continue
        except StoreError:  # made by another program under a similar name
            continue
        if state == "ready" and time_of(name) < time_of(aliases.get(alias, "")):
            found.previous.append(name)
        elif state != "filling" or alias not in context.facts.get("locks", {}):
            found.unused.append(f"{name} ({state})")
    return found


CHECKS: tuple[Check[EngineContext], ...] = (
    Check("engine", inspect_version, "read the engine's log"),
    Check("node", inspect_nodes, CLUSTER),
    Check("peers", inspect_peers, CLUSTER),
    Check("collections", inspect_collections, "read the engine's log"),
    Check("locks", inspect_locks, CLUSTER),
    Check("leftovers", inspect_leftovers, "check again when the engine answers"),
)
