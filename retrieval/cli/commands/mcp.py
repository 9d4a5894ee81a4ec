"""`retrieval mcp`."""

from retrieval.cli.options import Alias, QdrantUrl
from retrieval.errors import DEFAULT_ALIAS


def mcp(alias: Alias = DEFAULT_ALIAS, qdrant_url: QdrantUrl = None) -> None:
    """Let agents search, over stdin and stdout (MCP).

    An agent's host starts this command and speaks the Model Context Protocol with it. The tools only read:
    search_images, find_duplicates, find_outliers, collection_status and get_image. `retrieval serve` offers the same
    tools over HTTP at /mcp, behind its key.

    $ retrieval mcp
    $ retrieval mcp --alias digits
    """
    import asyncio

    from retrieval.config import load_settings
    from retrieval.util.extras import needs

    with needs("mcp", "retrieval mcp"):
        from retrieval.web.agents import serve_stdio
        from retrieval.web.service import Service

    from retrieval.api import Index
    from retrieval.cli.logs import log_lines
    from retrieval.store import open_for_service
    from retrieval.web.limits import Limits

    log_lines()
    settings = load_settings(qdrant_url=qdrant_url)
    with open_for_service(settings, alias) as store:
        asyncio.run(serve_stdio(Service(Index(store, settings, alias), Limits())))
