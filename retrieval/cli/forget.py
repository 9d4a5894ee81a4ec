"""`retrieval forget`."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from retrieval.cli.common import DEFAULT_ALIAS, Alias, Json, QdrantUrl, echo, print_json, progress_bar
from retrieval.cli.watching import recorded
from retrieval.errors import UsageError
from retrieval.outside import visible

if TYPE_CHECKING:
    from retrieval.ingest.forget import Forgotten


def forget(
    name: Annotated[str, typer.Argument(help="The source's short name, as `retrieval status` shows it.")],
    alias: Alias = DEFAULT_ALIAS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    qdrant_url: QdrantUrl = None,
    as_json: Json = False,
) -> None:
    """Remove a source that was retired: its points, its refused images and its record; no file is touched."""
    from retrieval.config import load_settings
    from retrieval.ingest import forget as job
    from retrieval.store import open_store

    settings = load_settings(qdrant_url=qdrant_url)
    with open_store(settings) as store:
        found = job.look(store, alias, name)
    if not (dry_run or yes or sys.stdin.isatty()):
        raise UsageError(f"forget {name}: removes {found.points:,} points of {alias}; if that is meant, --yes")
    if not as_json:
        say(found)
    if not dry_run:
        if not yes and not typer.confirm(f"Forget {visible(name)}, {found.points:,} points?", err=True):
            raise typer.Exit(1)
        with recorded("forget", alias, settings.jobs) as run, open_store(settings) as store, progress_bar() as bar:
            task = bar.add_task("Removing", total=found.points)
            found = job.forget(
                store, alias, name, settings.refused, lambda done, total: bar.update(task, completed=done, total=total)
            )
            run.facts |= found.to_json()
    if as_json:
        print_json(found.to_json())
    else:
        done = f"{found.points:,} points removed, {name} is forgotten" if found.done else "nothing was changed"
        echo(done)


def say(found: "Forgotten") -> None:
    """What would go."""
    where = f", last seen at {found.root}" if found.root else ""
    lines = [f"{found.alias} → {found.collection}: {found.points:,} points of {found.name}{where}"]
    lines += [f"goes: {found.name}/{path}" for path in found.examples]
    if (more := found.points - len(found.examples)) > 0 and found.examples:
        lines.append(f"goes: {more:,} more")
    for line in lines:
        echo(line)
