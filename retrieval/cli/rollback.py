"""`retrieval rollback`."""

from typing import Annotated

import typer

from retrieval.cli.common import DEFAULT_ALIAS, Alias, Json, QdrantUrl, echo, print_json, print_warnings
from retrieval.cli.watching import recorded


def rollback(
    alias: Alias = DEFAULT_ALIAS,
    as_it_was: Annotated[
        bool,
        typer.Option("--as-it-was", help="Do not carry over the fields and images that came to the one that is left."),
    ] = False,
    qdrant_url: QdrantUrl = None,
    as_json: Json = False,
) -> None:
    """Point the alias back at the collection before, with its model and with what was written since, in one step."""
    from retrieval import checkpoint
    from retrieval.config import load_settings
    from retrieval.reindex import rollback as job
    from retrieval.store import open_store

    settings = load_settings(qdrant_url=qdrant_url)
    with recorded("rollback", alias, settings.jobs) as run, open_store(settings) as store:
        done = job.rollback(store, alias, settings, as_it_was=as_it_was)
        run.facts |= done.to_json()
    if as_json:
        print_json(done.to_json())
    else:
        echo(
            f"{alias} → {done.collection}: {done.points:,} points by model {done.model[:8]}, made {done.created};"
            f" {done.carried:,} brought up to date"
        )
        echo(f"{done.left} is left and stays until the next reindex; see: retrieval collections")
        if done.missing:
            echo(f"{sum(done.missing.values()):,} images came or changed since; run:")
            for line in done.next:
                echo(line)
    if checkpoint.of(settings.models, done.model) is None:
        print_warnings([f"model {done.model[:8]} is not in {settings.models}; whoever searches needs its folder there"])
