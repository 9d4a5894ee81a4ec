"""`retrieval status`."""

from typing import TYPE_CHECKING, Any

from retrieval import __version__
from retrieval.cli.console import echo, print_json
from retrieval.cli.options import Alias, Json, QdrantUrl
from retrieval.errors import DEFAULT_ALIAS

if TYPE_CHECKING:
    from retrieval.store.base import Store


def status(alias: Alias = DEFAULT_ALIAS, qdrant_url: QdrantUrl = None, as_json: Json = False) -> None:
    """Show the engine, its nodes, collection, model and sources.

    Includes the verdict of the last `retrieval evaluate`, and a warning if it is bad. If a node (a server of a Qdrant
    cluster) is down, status shows what the other nodes report. Prints one screen; --json prints everything.

    $ retrieval status
    $ retrieval status --alias scans --json
    """
    from retrieval.cli.render.status import status_rows
    from retrieval.config import load_settings
    from retrieval.model import saved_models
    from retrieval.store import open_store

    settings = load_settings(qdrant_url=qdrant_url)
    default = saved_models.default(settings.models)
    facts: dict[str, Any] = {
        "version": __version__,
        "home": str(settings.home),
        "default_model": default and saved_models.load(default).fingerprint,
        "alias": alias,
    }
    with open_store(settings, fail_fast=True) as store:
        facts |= describe_engine(store, alias)
    facts |= saved_models.describe_sight(settings.models, facts.get("model"))
    if as_json:
        print_json(facts)
        return
    for name, value in status_rows(facts):
        echo(f"{name:<10}  {value}")


def describe_engine(store: "Store", alias: str) -> dict[str, Any]:
    """The facts about engine and collection; `unknown` says why some are missing.

    Raises StoreUnavailable when nothing answers.
    """
    from retrieval.errors import NoCollection, StoreUnavailable
    from retrieval.schema.filters import Filter, Match
    from retrieval.schema.records import STALE
    from retrieval.store.base import resolve

    facts: dict[str, Any] = {"engine": store.engine, "location": store.location, "aliases": store.aliases()}
    try:
        collection = resolve(store, alias)
    except NoCollection:
        return {**facts, "collection": None, "points": 0, **store.describe()}
    facts |= {"collection": collection, "points": None, **store.describe(collection)}
    try:
        store.check()
        meta = store.metadata(collection)
        facts |= {**meta.to_json(), "layout": str(meta.layout), "points": store.count(collection)}
        facts |= {"weak": meta.weakness} if meta.weakness else {}
        facts["stale"] = store.count(collection, Filter(must=(Match(STALE, (True,)),)))
    except StoreUnavailable as error:
        facts["unknown"] = f"the rest: {error}"
    return facts
