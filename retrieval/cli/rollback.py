"""`retrieval rollback`."""

from retrieval.cli.common import DEFAULT_ALIAS, Alias, Json, QdrantUrl, print_json, stdout
from retrieval.cli.watching import recorded


def rollback(alias: Alias = DEFAULT_ALIAS, qdrant_url: QdrantUrl = None, as_json: Json = False) -> None:
    """Point the alias back at the collection before, with the model that made it, in one step."""
    from retrieval.config import load_settings
    from retrieval.reindex import rollback as job
    from retrieval.store import open_store

    settings = load_settings(qdrant_url=qdrant_url)
    with recorded("rollback", alias, settings.jobs) as run, open_store(settings) as store:
        done = job.rollback(store, alias, settings)
        run.facts |= done.to_json()
    if as_json:
        print_json(done.to_json())
    else:
        stdout().print(
            f"{alias} → {done.collection}: {done.points:,} points by model {done.model[:8]}, made {done.created}\n"
            f"{done.left} is left and stays until the next reindex; see: retrieval collections",
            soft_wrap=True,
        )
