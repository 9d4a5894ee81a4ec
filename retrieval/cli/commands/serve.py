"""`retrieval serve`."""

from typing import Annotated

import typer

from retrieval.cli.console import echo
from retrieval.cli.help import SERVICE
from retrieval.cli.logs import log_lines
from retrieval.cli.options import Alias, QdrantUrl
from retrieval.errors import DEFAULT_ALIAS, UsageError
from retrieval.web.limits import RATE

HOST, PORT = "127.0.0.1", 8000


def serve(
    host: Annotated[
        str,
        typer.Option(
            metavar="HOST",
            rich_help_panel=SERVICE,
            help="Address to listen on; the network can reach every address except loopback.",
        ),
    ] = HOST,
    port: Annotated[
        int, typer.Option(min=0, max=65535, rich_help_panel=SERVICE, help="Port to listen on; 0 for any free port.")
    ] = PORT,
    rate: Annotated[
        int,
        typer.Option(min=0, rich_help_panel=SERVICE, help="Maximum requests of a client in a second; 0 for no limit."),
    ] = RATE,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure", rich_help_panel=SERVICE, help="Serve everyone without a key, on a network address too."
        ),
    ] = False,
    alias: Alias = DEFAULT_ALIAS,
    qdrant_url: QdrantUrl = None,
) -> None:
    """Serve the search page and the read-only HTTP API.

    $RETRIEVAL_API_KEY is the key that clients must send. If it is not set, the service listens on loopback only: only
    programs on this machine can reach it.

    $ retrieval serve
    $ retrieval serve --host 0.0.0.0 --port 8080
    """
    from retrieval.config import load_settings
    from retrieval.util.extras import needs

    with needs("serve", "the service"):
        from retrieval.web.app import create_app
        from retrieval.web.middleware.auth import SHORTEST_KEY, is_guessable, is_loopback
        from retrieval.web.server import listen, run_server

    settings = load_settings(qdrant_url=qdrant_url)
    key = settings.api_key.get_secret_value() if settings.api_key else None
    if key and is_guessable(key):
        raise UsageError(
            f"RETRIEVAL_API_KEY of {len(key)} characters is easily guessed; use at least {SHORTEST_KEY} random ones, as"
            " from: openssl rand -hex 32"
        )
    if not (key or insecure or is_loopback(host)):
        raise UsageError(
            f"--host {host} is reachable from the network; set RETRIEVAL_API_KEY to the key that clients must send, or"
            " allow everyone with --insecure"
        )

    from retrieval.api import Index
    from retrieval.store import open_for_service
    from retrieval.web.limits import Limits

    log_lines()
    limits = Limits(rate=rate)
    listening = listen(host, port)
    with listening, open_for_service(settings, alias) as store:
        app = create_app(Index(store, settings, alias), limits, key=key, any_host=insecure)
        port = listening.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        echo(f"Serving {alias} at http://{shown}:{port} (Ctrl-C ends)", err=True)
        run_server(app, listening, limits, settings.trusted_proxies)
