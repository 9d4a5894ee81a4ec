"""`retrieval doctor`."""

from typing import TYPE_CHECKING

import typer

from retrieval.cli.console import echo, print_json
from retrieval.cli.options import Alias, Json, QdrantUrl
from retrieval.errors import DEFAULT_ALIAS

if TYPE_CHECKING:
    from retrieval.ops.doctor.checks import Finding

SHOWN = {"ok": "ok", "warning": "warning", "error": "ERROR"}


def doctor(alias: Alias = DEFAULT_ALIAS, qdrant_url: QdrantUrl = None, as_json: Json = False) -> None:
    """Find what is wrong and say how to fix it.

    Checks settings, disk, models, every node of a cluster, replicas, index, sources, locks and jobs, and changes
    nothing. The exit code is 1 if a check finds an error, and 0 if there are only warnings.

    $ retrieval doctor
    $ retrieval doctor --json --qdrant-url http://127.0.0.1:6333
    """
    from retrieval.config import load_settings
    from retrieval.ops.doctor.job import run_checks

    found = []
    for finding in run_checks(lambda: load_settings(qdrant_url=qdrant_url), alias):
        found.append(finding)
        if not as_json:
            print_finding(finding)
    number = {state: sum(finding.state == state for finding in found) for state in SHOWN}
    if as_json:
        print_json({"ok": not number["error"], "checks": [finding.to_json() for finding in found]})
    else:
        echo(", ".join(f"{number[state]} {state}" for state in SHOWN))
    if number["error"]:
        raise typer.Exit(1)


def print_finding(finding: "Finding") -> None:
    """Print the finding, and below it how to fix it."""
    echo(f"{SHOWN[finding.state]:<8} {finding.check:<12} {finding.found}")
    if finding.fix:
        echo(f"{'':<22}→ {finding.fix}")
