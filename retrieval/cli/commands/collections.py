"""`retrieval collections`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from retrieval.cli.console import echo, print_json, stdout
from retrieval.cli.help import ACTION
from retrieval.cli.options import Json, QdrantUrl
from retrieval.cli.render.tables import print_table
from retrieval.util.wording import format_age

if TYPE_CHECKING:
    from retrieval.store.base import Store

GATE_METRICS = ("recall_at_5", "copies_found", "P@5")
"""The gate's metrics that the table shows."""
META_FIELDS = ("model", "dim", "created", "state", "sources", "evaluation")
"""The metadata that is printed as JSON."""
DAMAGED = "damaged"


def collections(
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            rich_help_panel=ACTION,
            help="Drop all collections that no alias points at, without asking: damaged ones too, and those that"
            " `retrieval rollback` needs. This cannot be undone.",
        ),
    ] = False,
    qdrant_url: QdrantUrl = None,
    as_json: Json = False,
) -> None:
    """List collections: alias, state, points, age, evaluation.

    An alias is the name by which a collection is searched. A collection's own name consists of its alias, the time it
    was made, and the start of its model's fingerprint.

    $ retrieval collections
    $ retrieval collections --prune
    """
    from retrieval.config import load_settings
    from retrieval.reindex.swap import drop_unused
    from retrieval.store import open_store

    settings = load_settings(qdrant_url=qdrant_url)
    with open_store(settings) as store:
        dropped = drop_unused(store) if prune else []
        aliases = store.aliases()
        rows = [row for name in store.collections() if (row := describe_collection(store, name, aliases))]
        location = store.location
    if as_json:
        print_json({"collections": rows, "dropped": dropped})
        return
    console = stdout()
    for name in dropped:
        console.print(f"dropped: {name}", soft_wrap=True)
    if not rows:
        console.print(f"no collections at {location}; make one with: retrieval ingest SOURCE", soft_wrap=True)
        return
    columns = ["points", "age", *(name.replace("_", " ") for name in GATE_METRICS)]
    print_table(["alias", "collection", "state", *columns], map(collection_row, rows), numbers=columns)
    for row in rows:
        if row["state"] == DAMAGED:
            echo(f"damaged: {row['reason']}", err=True)


def collection_row(row: Mapping[str, Any]) -> list[str]:
    """A collection as a row of the table."""
    if row["state"] == DAMAGED:
        return [", ".join(row["aliases"]) or "–", row["collection"], DAMAGED, *[""] * (2 + len(GATE_METRICS))]
    measured = [f"{row['evaluation'][name]:.4f}" if name in row["evaluation"] else "" for name in GATE_METRICS]
    state = "live" if row["aliases"] else row["state"]
    return [
        *(", ".join(row["aliases"]) or "–", row["collection"], state, f"{row['points']:,}", format_age(row["created"])),
        *measured,
    ]


def describe_collection(store: "Store", collection: str, aliases: Mapping[str, str]) -> dict[str, Any] | None:
    """The facts about a collection; None for one that this program did not make.

    For a damaged one: its name, the aliases that point at it, and the `reason`.
    """
    from retrieval.errors import StoreDamaged, StoreError

    own = sorted(alias for alias, target in aliases.items() if target == collection)
    try:
        meta, points = store.metadata(collection), store.count(collection)
    except StoreDamaged as error:
        unknown = dict.fromkeys(("points", *META_FIELDS))
        return {"collection": collection, "aliases": own, **unknown, "state": DAMAGED, "reason": str(error)}
    except StoreError:
        return None
    facts = meta.to_json()
    return {"collection": collection, "aliases": own, "points": points, **{name: facts[name] for name in META_FIELDS}}
