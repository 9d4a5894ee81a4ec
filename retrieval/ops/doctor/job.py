"""All checks, one after the other; each is guarded, and the next ones go on where one cannot look."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

from retrieval.config import Settings
from retrieval.errors import Locked, NoCollection, RetrievalError, StoreError
from retrieval.ops.doctor import collection, engine, machine
from retrieval.ops.doctor.checks import Engine, Live, Machine, Row, failed, rows
from retrieval.store import open_store
from retrieval.store.base import Store, resolve


def examine(load: Callable[[], Settings], alias: str) -> Iterator[Row]:
    """What is wrong with what the alias needs, row by row as it is found out.

    load: reads the settings. Changes nothing, but that an index which sleeps is woken. Takes seconds, at most about ten
    for each thing that hangs.
    """
    try:
        case = Machine(load(), alias)
    except RetrievalError as error:
        yield failed("settings", error, "set it right, or unset it")
        return
    for check in machine.CHECKS:
        yield from rows(check, case)
    try:
        with open_store(case.settings, fail_fast=True) as store:
            yield from of_engine(case, store)
    except Locked as error:  # embedded: one process has all of it
        yield dataclasses.replace(failed("engine", error, "try again when that is done"), state="warning")
    except (RetrievalError, OSError) as error:
        yield failed("engine", error, "start it, or set QDRANT_URL right")


def of_engine(case: Machine, store: Store) -> Iterator[Row]:
    """Engine and collection; raises StoreUnavailable when no node answers."""
    aliases = store.aliases()
    known = aliases.get(case.alias)
    seen = Engine(case.settings, case.alias, store, store.describe(known))
    for of_it in engine.CHECKS:
        yield from rows(of_it, seen)
    if known is None:
        yield missing(store, case)
        return
    meta = None
    with contextlib.suppress(StoreError):  # the first check asks again, and says so
        meta = store.metadata(known)
    live = Live(case.settings, case.alias, store, seen.facts, known, meta)
    for its in collection.CHECKS:
        yield from rows(its, live)


def missing(store: Store, case: Machine) -> Row:
    """Why the alias leads nowhere."""
    try:
        return Row("alias", "ok", resolve(store, case.alias))
    except NoCollection as error:
        return Row("alias", "error", error.message, case.call("retrieval ingest SOURCE"))
    except StoreError as error:
        return failed("alias", error, "choose another --alias")
