"""`retrieval jobs`."""

from typing import Annotated

import typer

from retrieval.cli.common import Json, one_line, print_json, print_table, stdout


def jobs(
    alias: Annotated[str | None, typer.Option(help="Only runs on this alias.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many.")] = 20,
    as_json: Json = False,
) -> None:
    """List the runs of ingest, reindex and rollback from this home, the newest first."""
    from retrieval.config import load_settings
    from retrieval.jobs import history, in_words

    records = [record for record in history(load_settings().jobs) if alias in (None, record["alias"])][:limit]
    if as_json:
        for record in records:
            print_json(record)
        return
    if not records:
        stdout().print("no runs yet")
        return

    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None)
    for title in ("started", "job", "alias", "outcome", "seconds", "collection", "what"):
        table.add_column(title, justify="right" if title == "seconds" else "left", no_wrap=title == "collection")
    for record in records:
        done = record["outcome"] == "done"
        table.add_row(
            record["started"][:19].replace("T", " "),
            record["job"],
            record["alias"],
            record.get("result", "done") if done else record["outcome"],
            f"{record['seconds']:,.1f}" if "seconds" in record else "",
            record.get("collection") or record.get("previous") or "",
            escape(one_line(in_words(record))),
        )
    print_table(table)
