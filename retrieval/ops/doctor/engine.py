"""Checks of the engine: does every node answer, who holds locks, and what was left behind."""

from collections.abc import Iterator

from retrieval.errors import StoreDamaged, StoreError, StoreUnavailable
from retrieval.ops.doctor.checks import Check, Engine, Row, in_one_line
from retrieval.store.naming import alias_of, time_of

CLUSTER = "see 'A cluster' in docs/operations.md"


def answers(case: Engine) -> Iterator[Row]:
    """Which it is; no row where none answers."""
    version = f"Qdrant {case.facts['server']}" if "server" in case.facts else f"Qdrant Edge {case.facts['edge']}"
    yield Row("engine", "ok", f"{case.store.engine}, {version}, at {case.store.location}")


def in_use(case: Engine) -> Iterator[Row]:
    """Something real of every collection that an alias points at."""
    case.store.check()
    yield Row("collections", "ok", f"{len(set(case.store.aliases().values()))} in use, each can be counted")


def nodes(case: Engine) -> Iterator[Row]:
    """Each address in QDRANT_URL, asked by itself."""
    named = case.facts.get("nodes", {})
    for url, node in named.items():
        if "error" in node:
            yield Row("node", "error", f"{url} {node['error']}", f"start it; if it is gone for good, {CLUSTER}")
        elif node["peers"] < len(named):
            found = f"{url} knows of {node['peers']} node{'s'[: node['peers'] > 1]}, and QDRANT_URL names {len(named)}"
            yield Row("node", "error", found, "name the nodes of one cluster only: codes would go to either")
        else:
            yield Row("node", "ok", f"{url} answers, Qdrant {node['version']}")


def peers(case: Engine) -> Iterator[Row]:
    """Those of the cluster reach each other, whether or not QDRANT_URL names them."""
    for peer in case.facts.get("peers_away", ()):
        yield Row("peers", "error", f"peer {peer} does not answer the others", f"start it, or remove it: {CLUSTER}")
    if (number := case.facts.get("peers", 1)) > 1 and not case.facts["peers_away"]:
        named = len(case.facts["nodes"])
        yield Row("peers", "ok", f"{number}, which reach each other; QDRANT_URL names {min(named, number)} of them")


def locks(case: Engine) -> Iterator[Row]:
    """For information: a lock is no trouble, and the next job takes that of a dead one over."""
    held = case.facts.get("locks", {})
    for alias, holder in held.items():
        yield Row("locks", "ok", f"{alias}: {holder}")
    if not held:
        yield Row("locks", "ok", "no job holds one")


def leftovers(case: Engine) -> Iterator[Row]:
    """Collections that no alias points at: those behind the live one lead back, others are in nobody's use."""
    kept, left, silent, broken = sorted_out(case)
    if kept:
        yield Row("leftovers", "ok", f"{len(kept)} behind the live ones, for `retrieval rollback`")
    if left:
        mend = "retrieval collections --prune drops them, and those that a rollback leads to"
        yield Row("leftovers", "warning", f"no alias points at {', '.join(left)}", mend)
    for reason in broken:
        yield Row("leftovers", "warning", reason, "retrieval collections --prune drops it; no alias points at it")
    if silent:
        yield Row("leftovers", "warning", f"{', '.join(silent)} does not answer", "look again when all nodes answer")
    if not (kept or left or silent or broken):
        yield Row("leftovers", "ok", "none")


def sorted_out(case: Engine) -> tuple[list[str], list[str], list[str], list[str]]:
    """Unused collections: a rollback leads to them · it does not · it is not known · why they cannot be opened.

    One that is being filled is none of these.
    The first that does not answer is the last that is asked.
    """
    kept: list[str] = []
    left: list[str] = []
    broken: list[str] = []
    store, aliases = case.store, case.store.aliases()
    for name in store.collections():
        alias = alias_of(name)
        if alias is None or name in aliases.values():
            continue
        try:
            state = store.metadata(name).state
        except StoreUnavailable:
            return kept, left, [name], broken
        except StoreDamaged as error:
            broken.append(in_one_line(error))
            continue
        except StoreError:  # something else's, though it is called so
            continue
        if state == "ready" and time_of(name) < time_of(aliases.get(alias, "")):
            kept.append(name)
        elif state != "filling" or alias not in case.facts.get("locks", {}):
            left.append(f"{name} ({state})")
    return kept, left, [], broken


CHECKS: tuple[Check[Engine], ...] = (
    Check("engine", answers, "look into the engine's log"),
    Check("node", nodes, CLUSTER),
    Check("peers", peers, CLUSTER),
    Check("collections", in_use, "look into the engine's log"),
    Check("locks", locks, CLUSTER),
    Check("leftovers", leftovers, "look again when the engine answers"),
)
