"""`retrieval serve`."""

from typing import Annotated

import typer

from retrieval.cli.common import DEFAULT_ALIAS, Alias, QdrantUrl, echo
from retrieval.cli.logs import log_lines
from retrieval.errors import UsageError
from retrieval.web.limits import RATE

HOST, PORT = "127.0.0.1", 8000


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; others can reach all but loopback.")] = HOST,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any that is free.")] = PORT,
    rate: Annotated[int, typer.Option(min=0, help="Requests of one client in a second, 0 for any number.")] = RATE,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Let everybody in who can reach the address, without a key.")
    ] = False,
    alias: Alias = DEFAULT_ALIAS,
    qdrant_url: QdrantUrl = None,
) -> None:
    """Serve the page and the HTTP API, to read only; $RETRIEVAL_API_KEY is the key that clients must show."""
    from retrieval.config import load_settings
    from retrieval.web.gate import is_loopback

    settings = load_settings(qdrant_url=qdrant_url)
    key = settings.api_key.get_secret_value() if settings.api_key else None
    if not (key or insecure or is_loopback(host)):
        raise UsageError(
            f"--host {host} can be reached by others; set RETRIEVAL_API_KEY to a key that they must show, or let"
            " everybody in with --insecure"
        )

    from retrieval.index import Index
    from retrieval.store import open_store
    from retrieval.web.app import create_app
    from retrieval.web.limits import Limits
    from retrieval.web.server import listen, run

    log_lines()
    limits = Limits(rate=rate)
    listening = listen(host, port)
    with listening, open_store(settings, hurry=True) as store:
        app = create_app(Index(store, settings, alias), limits, key=key, any_host=insecure)
        port = listening.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        echo(f"Serving {alias} at http://{shown}:{port} (Ctrl-C ends)", err=True)
        run(app, listening, limits)
