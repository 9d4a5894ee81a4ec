"""`retrieval migrate`."""

import contextlib
from typing import Annotated

import typer

from retrieval.cli.console import count_task, print_json, progress_bar, stdout
from retrieval.cli.help import ACTION, ENGINE
from retrieval.cli.options import Alias, Json
from retrieval.errors import DEFAULT_ALIAS, UsageError
from retrieval.util.wording import count_of


def migrate(
    to: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            rich_help_panel=ENGINE,
            show_default="the embedded engine",
            help="URL of the Qdrant server to copy to.",
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="URL",
            rich_help_panel=ENGINE,
            show_default="the embedded engine",
            help="URL of the Qdrant server to copy from; with --to, $QDRANT_FROM_API_KEY holds this server's API key.",
        ),
    ] = None,
    alias: Alias = DEFAULT_ALIAS,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes",
            rich_help_panel=ACTION,
            help="If the alias points at another collection at the target, move it and keep that collection. If the"
            " collection itself is in use there and differs, overwrite it: what was written only there is lost.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Copy a collection between the embedded engine and servers.

    With --to, copies from the embedded engine to a server; with --from, from a server to the embedded engine; with
    both, between servers. Encodes nothing again. If a copy is interrupted, run the same command again to resume it.
    Sets the alias at the target only after counts, a sample of points and a few searches agree.

    $ retrieval migrate --to http://127.0.0.1:6333
    $ retrieval migrate --from http://127.0.0.1:6333
    """
    if to is None and from_ is None:
        raise UsageError(
            "neither --to nor --from; --to URL copies to a server, --from URL from one to the embedded engine"
        )

    from retrieval.config import load_settings
    from retrieval.reindex import migrate as job
    from retrieval.store import open_at

    settings = load_settings()
    with contextlib.ExitStack() as stack:
        source = stack.enter_context(open_at(from_, settings, "QDRANT_FROM_API_KEY" if to else "QDRANT_API_KEY"))
        target = stack.enter_context(open_at(to, settings))
        if source.location == target.location:
            raise UsageError(f"--from and --to are both {source.location}; name two")
        source.check()
        target.check()
        bar = stack.enter_context(progress_bar())
        summary = job.migrate(source, target, alias, count_task(bar, "Copying", unit="point"), yes=yes)
    if as_json:
        print_json(summary.to_json())
    else:
        stdout().print(
            f"{alias} → {summary.collection}: {count_of(summary.points, 'point')} at {summary.target}\n"
            f"{summary.copied:,} copied from {summary.origin}, {summary.deleted:,} deleted in {summary.seconds:.1f} s\n"
            "Next: " + (f"export QDRANT_URL={summary.target}" if to else "unset QDRANT_URL") + " && retrieval status",
            soft_wrap=True,
        )
