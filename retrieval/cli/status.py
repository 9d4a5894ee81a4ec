"""`retrieval status`."""

from typing import Any

import typer

from retrieval import __version__
from retrieval.cli.common import DEFAULT_ALIAS, Alias, Json, QdrantUrl, print_json


def status(alias: Alias = DEFAULT_ALIAS, qdrant_url: QdrantUrl = None, as_json: Json = False) -> None:
    """Show what is there: engine, collection, model and sources."""
    from retrieval import checkpoint
    from retrieval.config import load_settings
    from retrieval.errors import NoCollection
    from retrieval.store import open_store
    from retrieval.store.base import resolve

    settings = load_settings(qdrant_url=qdrant_url)
    default = checkpoint.default(settings.models)
    facts: dict[str, Any] = {
        "version": __version__,
        "home": str(settings.home),
        "default_model": default and checkpoint.load(default).fingerprint,
        "alias": alias,
    }
    with open_store(settings) as store:
        store.check()
        facts |= {"engine": store.engine, "location": store.location, "aliases": store.aliases()}
        try:
            collection = resolve(store, alias)
        except NoCollection:
            facts |= {"collection": None, "points": 0}
        else:
            meta = store.metadata(collection)
            facts |= {"collection": collection, "points": store.count(collection), **meta.to_json()}
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        lines = [f"{k} → {v}" for k, v in value.items()] if isinstance(value, dict) else [str(value)]
        for line in lines if value not in (None, {}) else ["none yet"]:
            typer.echo(f"{name:<14} {line}")
