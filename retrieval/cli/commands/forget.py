"""`retrieval forget`."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.console import count_task, echo, print_json, progress_bar
from retrieval.cli.help import ACTION
from retrieval.cli.job_context import record_job
from retrieval.cli.options import Alias, Json, QdrantUrl
from retrieval.errors import DEFAULT_ALIAS, UsageError
from retrieval.util.sanitize import escape_unprintable
from retrieval.util.wording import count_of

if TYPE_CHECKING:
    from retrieval.ingest.forget import ForgetSummary


def forget(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Short name of the source, as `retrieval status` shows it.")
    ],
    alias: Alias = DEFAULT_ALIAS,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", rich_help_panel=ACTION, help="Show what forget would remove, and change nothing."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", rich_help_panel=ACTION, help="Do not ask for confirmation.")] = False,
    qdrant_url: QdrantUrl = None,
    as_json: Json = False,
) -> None:
    """Remove a retired source from the collection.

    Removes the source's points (its stored images), the record of where it is, and its entries in the list of
    refused images. Does not touch image files. Shows what it will remove, and asks first.

    $ retrieval forget old-scans --dry-run
    $ retrieval forget old-scans --yes
    """
    from retrieval.config import load_settings
    from retrieval.ingest import forget as job
    from retrieval.store import open_store

    settings = load_settings(qdrant_url=qdrant_url)
    with open_store(settings) as store:
        found = job.preview_forget(store, alias, name)
    if not (dry_run or yes or sys.stdin.isatty()):
        raise UsageError(f"forget {name}: removes {count_of(found.points, 'point')} of {alias}; confirm with --yes")
    if not as_json:
        print_removal(found)
    if not dry_run:
        if not yes and not typer.confirm(
            f"Forget {escape_unprintable(name)}, {count_of(found.points, 'point')}?", err=True
        ):
            raise typer.Exit(1)
        with record_job("forget", alias, settings.jobs) as run, open_store(settings) as store, progress_bar() as bar:
            found = job.forget(store, alias, name, settings.refused, count_task(bar, "Removing", found.points, "point"))
            run.facts |= found.to_json()
    if as_json:
        print_json(found.to_json())
    else:
        done = (
            f"{count_of(found.points, 'point')} removed, {name} is forgotten" if found.done else "nothing was changed"
        )
        echo(done)


def print_removal(found: "ForgetSummary") -> None:
    """Print what would be removed."""
    where = f", last seen at {found.root}" if found.root else ""
    lines = [f"{found.alias} → {found.collection}: {count_of(found.points, 'point')} of {found.name}{where}"]
    lines += [f"to remove: {found.name}/{path}" for path in found.examples]
    if (more := found.points - len(found.examples)) > 0 and found.examples:
        lines.append(f"to remove: {more:,} more")
    for line in lines:
        echo(line)
