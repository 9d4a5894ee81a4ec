"""`retrieval doctor`."""

from typing import TYPE_CHECKING

import typer

from retrieval.cli.console import echo, print_json
from retrieval.cli.options import Alias, Json, QdrantUrl
from retrieval.errors import DEFAULT_ALIAS

if TYPE_CHECKING:
    from retrieval.ops.doctor.checks import Row

SHOWN = {"ok": "ok", "warning": "warning", "error": "ERROR"}


def doctor(alias: Alias = DEFAULT_ALIAS, qdrant_url: QdrantUrl = None, as_json: Json = False) -> None:
    """Find what is wrong and say how to fix it.

    Checks settings, disk, models, every node, replicas, index, sources, locks and jobs, and changes nothing. The exit
    code is 1 when any check is an error, 0 when there are only warnings.

    $ retrieval doctor
    $ retrieval doctor --json --qdrant-url http://127.0.0.1:6333
    """
    from retrieval.config import load_settings
    from retrieval.ops.doctor.job import examine

    found = []
    for row in examine(lambda: load_settings(qdrant_url=qdrant_url), alias):
        found.append(row)
        if not as_json:
            print_row(row)
    number = {state: sum(row.state == state for row in found) for state in SHOWN}
    if as_json:
        print_json({"ok": not number["error"], "checks": [row.to_json() for row in found]})
    else:
        echo(", ".join(f"{number[state]} {state}" for state in SHOWN))
    if number["error"]:
        raise typer.Exit(1)


def print_row(row: "Row") -> None:
    """Print the finding, and below it how to fix it."""
    echo(f"{SHOWN[row.state]:<8} {row.check:<12} {row.found}")
    if row.mend:
        echo(f"{'':<22}→ {row.mend}")
