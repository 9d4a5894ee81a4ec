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

    With the verdict of the last `retrieval evaluate`, and a warning if it is bad.
    If a node (a server of a Qdrant cluster) is down, status shows what the other nodes report.

    $ retrieval status
    $ retrieval status --alias scans --json
    """
    from retrieval.config import load_settings
    from retrieval.model import saved_models
    from retrieval.schema.verdict import Verdict
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
    from retrieval.model.saved_models import describe_sight

    facts |= describe_sight(settings.models, facts.get("model"))
    if as_json:
        print_json(facts)
        return
    if facts.get("verdict"):
        verdict = Verdict.from_json(facts["verdict"])
        facts["verdict"] = f"{verdict} ({verdict.measured[:10]})"
    for name, value in facts.items():
        lines = (
            [f"{k} → {plain_value(v)}" for k, v in value.items()]
            if isinstance(value, dict)
            else [format_fact(name, facts)]
        )
        for line in lines or ["none"]:
            echo(f"{name:<17} {line}")


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


def format_fact(name: str, facts: dict[str, Any]) -> str:
    """A fact as text, with its total where it is a part of one."""
    if name == "points" and facts[name] is None:
        return "unknown"
    whole = {"indexed": facts.get("points"), "active": facts.get("copies")}.get(name)
    return plain_value(facts[name]) + ("" if whole is None else f" of {whole}")


def plain_value(value: Any) -> str:
    """A value without brackets and quotes."""
    if value is None:
        return "none yet"
    if isinstance(value, dict):
        if "error" in value:
            return str(value["error"])
        return ", ".join(f"{name} {part}" for name, part in value.items() if part is not None)
    return ", ".join(map(str, value)) or "none" if isinstance(value, list | tuple) else str(value)
