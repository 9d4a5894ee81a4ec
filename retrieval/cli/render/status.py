"""What `status` prints for people: one screen; `--json` has all facts."""

from collections.abc import Mapping, Sequence
from typing import Any

from retrieval.errors import with_alias
from retrieval.schema.verdict import Verdict
from retrieval.util.wording import count_of, format_age, format_bytes

MOST = 6
"""Number of sources, nodes, aliases or locks that are shown."""
SHORT = 8
"""Characters of a fingerprint that are shown."""
GREY = 1
MOSTLY = 0.5
"""Share of drawings from which a model was trained on drawings."""


def status_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names and values, one line each; a name is empty where the line above goes on.

    facts: as `status --json` prints them
    """
    collection = facts["collection"]
    rows = [("alias", f"{facts['alias']} → {collection}" if collection else say_what_to_do(facts))]
    if collection:
        rows += [("images", describe_images(facts)), *list_quality(facts), *list_sources(facts)]
    rows += [("model", describe_model(facts)), ("engine", describe_engine(facts)), *list_index(facts)]
    nodes = {url: describe_node(node) for url, node in facts.get("nodes", {}).items()}
    others = {alias: name for alias, name in facts["aliases"].items() if alias != facts["alias"]}
    rows += list_all("nodes", [f"{url}: {text}" for url, text in nodes.items()] if len(nodes) > 1 else [])
    rows += list_all("away", facts.get("peers_away", ()))
    rows += list_all("locks", [f"{alias}: {holder}" for alias, holder in facts.get("locks", {}).items()])
    rows += list_all("aliases", [f"{alias} → {name}" for alias, name in sorted(others.items())])
    if facts.get("public_url"):
        rows.append(("public url", facts["public_url"]))
    if "unknown" in facts:
        rows.append(("unknown", facts["unknown"]))
    return [*rows, ("home", f"{facts['home']}, retrieval {facts['version']}")]


def list_all(name: str, values: Sequence[str]) -> list[tuple[str, str]]:
    """A line for each of the first MOST values, and how many there are besides."""
    shown = [*values[:MOST], *([f"and {len(values) - MOST:,} more (--json lists them all)"] if values[MOST:] else [])]
    return [(name if i == 0 else "", value) for i, value in enumerate(shown)]


def say_what_to_do(facts: Mapping[str, Any]) -> str:
    """How to make the collection that is not there yet."""
    ingest = with_alias("retrieval ingest SOURCE", facts["alias"])
    return f"{facts['alias']} has no collection yet; make it with: {ingest}"


def describe_images(facts: Mapping[str, Any]) -> str:
    """How many there are, and since when."""
    points = "an unknown number" if facts["points"] is None else f"{facts['points']:,}"
    stale = f", {facts['stale']:,} of them stale: their files cannot be read any more" if facts.get("stale") else ""
    made = (
        f", collection made {facts['created'][:10]} ({format_age(facts['created'])} ago)" if "created" in facts else ""
    )
    return points + stale + made


def list_quality(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The verdict of the last evaluation, or the command that gives one."""
    if "created" not in facts:
        return []
    if not facts.get("verdict"):
        measure = with_alias("retrieval evaluate SOURCE --labels folder", facts["alias"])
        return [("quality", f"not measured yet; measure it with: {measure}")]
    verdict = Verdict.from_json(facts["verdict"])
    weak = [("", f"warning: {facts['weak']}")] if "weak" in facts else []
    return [("quality", f"{verdict} ({verdict.measured[:10]})"), *weak]


def list_sources(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Each source with its place."""
    labelled = facts.get("labelled", ())
    shown = [
        f"{name} → {place}{', folder names as labels' if name in labelled else ''}"
        for name, place in facts.get("sources", {}).items()
    ]
    return list_all("sources", shown)


def describe_model(facts: Mapping[str, Any]) -> str:
    """The collection's model, what it sees, and the default model where that is another one."""
    default, model = facts["default_model"], facts.get("model")
    if model is None:
        return (
            f"{default[:SHORT]}, the default model" if default else "none yet; train one with: retrieval train SOURCE"
        )
    height, width = facts["image_size"]
    kind = "grey" if facts["channels"] == GREY else "colour"
    trunk = "" if facts.get("trunk", "none") == "none" else f" → {facts['trunk'].rpartition('-')[0]}"
    kinds = {True: " of drawings", False: " of photographs", None: ""}
    drawn = kinds[facts["drawn_share"] >= MOSTLY if "drawn_share" in facts else None]
    other = "" if default == model else f"; the default model is {default[:SHORT] if default else 'none'}"
    pixels = f"{width}×{height} {kind} pixels{drawn}"
    return f"{model[:SHORT]}: {pixels}{trunk} → {count_of(facts['dim'], 'dimension')}{other}"


def describe_engine(facts: Mapping[str, Any]) -> str:
    """Which engine, its version, place and size."""
    if "edge" in facts:
        size = f", {format_bytes(facts['bytes'])}" if facts.get("bytes") is not None else ""
        return f"{facts['engine']} (Qdrant Edge {facts['edge']}){size} in {facts['location']}"
    version = f" {facts['server']}" if "server" in facts else ""
    nodes = facts.get("nodes", {})
    only = [f", {describe_node(node)}" for node in nodes.values() if len(nodes) == 1 and "error" in node]
    return f"Qdrant{version} at {facts['location']}{''.join(only)}"


def describe_node(node: Mapping[str, Any]) -> str:
    """A node's version and peers, or what is wrong with it."""
    return str(node["error"]) if "error" in node else f"{node['version']}, knows {count_of(node['peers'], 'peer')}"


def list_index(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The index, how much of the collection is in it, and the replicas, as far as they are known."""
    found = [facts["layout"]] if "layout" in facts else []
    if "indexed" in facts:
        found += [f"{facts['indexed']:,} of {facts['points'] or 0:,} indexed", facts["status"]]
    rows = [("index", ", ".join(found))] if found else []
    if "copies" in facts:
        shards = [f"{count_of(facts['shards'], 'shard')} × {count_of(facts['replicas'], 'replica')}"] * (
            "shards" in facts
        )
        rows.append(("replicas", ", ".join([f"{facts['active']:,} of {facts['copies']:,} active", *shards])))
    return rows
