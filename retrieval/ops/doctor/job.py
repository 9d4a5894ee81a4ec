"""All checks, one after the other: an error in one check becomes a finding, and the next checks still run."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

from retrieval.config import Settings
from retrieval.errors import Locked, NoCollection, RetrievalError, StoreError
from retrieval.ops.doctor import collection, engine, machine
from retrieval.ops.doctor.checks import (
    CollectionContext,
    EngineContext,
    Finding,
    MachineContext,
    describe_failure,
    run_check,
)
from retrieval.store import open_store
from retrieval.store.base import Store, resolve


def run_checks(load: Callable[[], Settings], alias: str) -> Iterator[Finding]:
    """Check all that the alias needs; yields each finding as soon as it is known.

    Nothing is changed, except that a server wakes an index that it had put to sleep. This takes seconds, and up to
    about ten for each source or node that hangs.

    load: reads the settings
    alias: of the collection
    """
    try:
        context = MachineContext(load(), alias)
    except RetrievalError as error:
        yield describe_failure("settings", error, "set it right, or unset it")
        return
    for check in machine.CHECKS:
        yield from run_check(check, context)
    try:
        with open_store(context.settings, fail_fast=True) as store:
            yield from run_engine_checks(context, store)
    except Locked as error:  # embedded: another process has it open
        yield dataclasses.replace(describe_failure("engine", error, "try again when that is done"), state="warning")
    except (RetrievalError, OSError) as error:
        yield describe_failure("engine", error, "start it, or set QDRANT_URL right")


def run_engine_checks(context: MachineContext, store: Store) -> Iterator[Finding]:
    """Check the engine, then the collection. Raises StoreUnavailable when no node answers."""
    aliases = store.aliases()
    known = aliases.get(context.alias)
    of_engine = EngineContext(context.settings, context.alias, store, store.describe(known))
    for engine_check in engine.CHECKS:
        yield from run_check(engine_check, of_engine)
    if known is None:
        yield explain_missing_alias(store, context)
        return
    meta = None
    with contextlib.suppress(StoreError):  # the first check reads it again and reports the error
        meta = store.metadata(known)
    of_collection = CollectionContext(context.settings, context.alias, store, of_engine.facts, known, meta)
    for collection_check in collection.CHECKS:
        yield from run_check(collection_check, of_collection)


def explain_missing_alias(store: Store, context: MachineContext) -> Finding:
    """Why the alias points at no collection."""
    try:
        return Finding("alias", "ok", resolve(store, context.alias))
    except NoCollection as error:
        return Finding("alias", "error", error.message, context.call("retrieval ingest SOURCE"))
    except StoreError as error:
        return describe_failure("alias", error, "choose another --alias")
