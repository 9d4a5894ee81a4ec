"""`retrieval set-public-url`."""

from typing import Annotated

import typer

from retrieval.cli.console import count_task, echo, print_json, progress_bar
from retrieval.cli.options import Alias, Json, QdrantUrl
from retrieval.errors import DEFAULT_ALIAS, UsageError
from retrieval.util.wording import count_of


def set_public_url(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL", help="URL at which browsers reach `retrieval serve`, like http://127.0.0.1:8000."
        ),
    ],
    alias: Alias = DEFAULT_ALIAS,
    qdrant_url: QdrantUrl = None,
    as_json: Json = False,
) -> None:
    """Show images in the Qdrant dashboard.

    Stores in every point (the entry of an image) the URL at which `retrieval serve` shows the image. Later ingests and
    re-indexes of the collection do the same.

    $ retrieval set-public-url http://127.0.0.1:8000
    $ retrieval set-public-url https://images.example.org --alias scans
    """
    from retrieval.config import load_settings
    from retrieval.ingest import image_url
    from retrieval.store import open_store
    from retrieval.store.base import dashboard_url

    try:
        settings = load_settings(qdrant_url=qdrant_url, public_url=url)
    except UsageError as error:
        if error.option == "public_url":  # here it is the argument
            raise UsageError(error.message, hint=error.hint) from error
        raise
    assert settings.public_url is not None
    with open_store(settings) as store, progress_bar() as bar:
        collection, changed = image_url.set_public_url(
            store, alias, settings.public_url, count_task(bar, "Writing", unit="point")
        )
        page = None if as_json else dashboard_url(store, alias)
    if as_json:
        print_json({"alias": alias, "collection": collection, "public_url": settings.public_url, "changed": changed})
        return
    echo(f"{alias} → {collection}: {count_of(changed, 'point')} now linked to {settings.public_url}/images/…")
    if page:
        echo(f"Dashboard: {page}")
