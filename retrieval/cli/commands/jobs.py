"""`retrieval jobs`."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from retrieval.cli.console import print_json, stdout
from retrieval.cli.help import SELECTION
from retrieval.cli.options import Json
from retrieval.cli.render.tables import print_table


def jobs(
    alias: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=SELECTION,
            show_default="all",
            help="Show only runs on the collection of this alias.",
        ),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, rich_help_panel=SELECTION, help="Show at most this many runs, the newest first.")
    ] = 20,
    as_json: Json = False,
) -> None:
    """List past and running jobs: what, when, and the outcome.

    A job is a run of ingest, reindex, rollback or forget. Lists the jobs that used this RETRIEVAL_HOME.

    $ retrieval jobs
    $ retrieval jobs --limit 1 --json
    """
    from retrieval.config import load_settings
    from retrieval.ops.job_history import read_history

    records = [record for record in read_history(load_settings().jobs) if alias in (None, record["alias"])][:limit]
    if as_json:
        for record in records:
            print_json(record)
        return
    if not records:
        stdout().print("no runs yet")
        return

    columns = ["started", "job", "alias", "outcome", "seconds", "collection", "what"]
    print_table(columns, map(job_row, records), numbers=["seconds"])


def job_row(record: Mapping[str, Any]) -> list[str]:
    """A job as a row of the table."""
    from retrieval.ops.job_history import summarize

    return [
        record["started"][:19].replace("T", " "),
        record["job"],
        record["alias"],
        record.get("result", "done") if record["outcome"] == "done" else record["outcome"],
        f"{record['seconds']:,.1f}" if "seconds" in record else "",
        record.get("collection") or record.get("previous") or "",
        summarize(record),
    ]
