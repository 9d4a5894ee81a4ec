"""`retrieval rollback`."""

from typing import Annotated

import typer

from retrieval.cli.console import echo, print_json, print_warnings
from retrieval.cli.help import ACTION
from retrieval.cli.job_context import record_job
from retrieval.cli.options import Alias, Json, QdrantUrl
from retrieval.errors import DEFAULT_ALIAS
from retrieval.util.wording import count_of


def rollback(
    alias: Alias = DEFAULT_ALIAS,
    as_it_was: Annotated[
        bool,
        typer.Option(
            "--as-it-was",
            rich_help_panel=ACTION,
            help="Go back at once and carry nothing over. To get back what was stored since, ingest the sources again.",
        ),
    ] = False,
    qdrant_url: QdrantUrl = None,
    as_json: Json = False,
) -> None:
    """Go back to the previous collection and its model.

    First carries over the labels and fields that were written since the re-index, and the new images if both
    collections have the same model. Then makes the previous collection and its model live in one step. If the models
    differ, it counts the new images and prints the commands that ingest them.

    $ retrieval rollback
    $ retrieval rollback --as-it-was
    """
    from retrieval.config import load_settings
    from retrieval.model import saved_models
    from retrieval.reindex import rollback as job
    from retrieval.store import open_store

    settings = load_settings(qdrant_url=qdrant_url)
    with record_job("rollback", alias, settings.jobs) as run, open_store(settings) as store:
        done = job.rollback(store, alias, settings, as_it_was=as_it_was)
        run.facts |= done.to_json()
    if as_json:
        print_json(done.to_json())
    else:
        echo(
            f"{alias} → {done.collection}: {count_of(done.points, 'point')} by model {done.model[:8]}, made"
            f" {done.created}; {done.carried:,} updated"
        )
        echo(f"{done.left} is no longer live, and is kept until the next reindex; see: retrieval collections")
        if done.missing:
            echo(f"{count_of(sum(done.missing.values()), 'image')} new or changed since; run:")
            for line in done.next:
                echo(line)
    if saved_models.folder_of(settings.models, done.model) is None:
        print_warnings([f"model {done.model[:8]} is not in {settings.models}; searches need its folder there"])
