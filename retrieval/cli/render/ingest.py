"""What an ingest prints: the images that it refused, its plan, its summary."""

import contextlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.cli.console import echo, print_warnings, training_task
from retrieval.cli.job_context import Watch
from retrieval.cli.logs import is_json, log
from retrieval.errors import UsageError, with_alias
from retrieval.util.files import write_error
from retrieval.util.wording import count_of

if TYPE_CHECKING:
    from rich.console import Console

    from retrieval.config import Settings
    from retrieval.ingest.summary import IngestSummary
    from retrieval.model.saved_models import SavedModel
    from retrieval.sources import Source
    from retrieval.store.base import Store

SHOWN = 5
"""Number of skipped files that are shown by name."""


@contextlib.contextmanager
def errors_file(file: Path | None) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
    """A function that writes the ledger's rows of refused images to the log, and to the file as JSON lines.

    Raises UsageError when the file cannot be written.
    """
    try:
        with file.open("w", encoding="utf-8") if file else contextlib.nullcontext() as lines:

            def take(rows: list[dict[str, Any]]) -> None:
                for row in rows:
                    log("image refused", logging.WARNING, **row)
                    if lines:
                        lines.write(f"{json.dumps(row, ensure_ascii=False)}\n")

            yield take
    except OSError as error:
        if file and error.filename == str(file):
            raise write_error(file, error, UsageError, option="errors") from error
        raise


def train_first_model(
    store: "Store", alias: str, sources: Sequence["Source"], settings: "Settings", watch: Watch
) -> "SavedModel":
    """Train a model on the sources and make it the default.

    Holds the alias's lock, so that only one of two first ingests trains. Raises as `train_and_save`, and Locked.
    """
    from retrieval.train.job import train_and_save

    reason = f"no model in {settings.models} yet"
    with store.lock(alias):
        log("training", reason=reason)
        if not is_json():
            echo(f"{reason}: training one on the sources first", err=True)
        model, _ = train_and_save(
            sources, settings, training=training_task(watch.bar)
        )  # the ingest names those that it refuses
    m = model.metrics
    log("trained", model=model.fingerprint, images=m["images"], seconds=m["seconds"], warnings=m["warnings"])
    if not is_json():
        echo(
            f"model {model.fingerprint[:8]} trained on {count_of(m['images'], 'image')} in {m['seconds']:.1f} s",
            err=True,
        )
        print_warnings(m["warnings"])
    return model


def print_plan(summary: "IngestSummary", console: "Console") -> None:
    """Print what a run would do."""
    console.print(
        f"{count_of(summary.found, 'image')}: {summary.new:,} new and {summary.changed:,} changed would be opened,"
        f" {summary.unchanged:,} unchanged, {summary.failed:,} refused before,"
        f" {count_of(summary.deleted, 'point')} would be deleted; nothing was done ({summary.seconds:.1f} s)",
        soft_wrap=True,
    )
    print_gone(summary)
    print_skipped(summary)


def print_summary(
    summary: "IngestSummary", points: int, location: str, dashboard: str | None, console: "Console"
) -> None:
    """Print what a run did: a table on a terminal, otherwise a line."""
    numbers = {
        "encoded": summary.encoded,
        "copied": summary.copied,
        "unchanged": summary.unchanged,
        "refused": summary.failed,
        "deleted": summary.deleted,
    }
    if console.is_terminal:
        from rich.table import Table

        table = Table(box=None)
        for name in ("found", *numbers, "seconds"):
            table.add_column(name, justify="right")
        values = [f"{number:,}" for number in (summary.found, *numbers.values())]
        table.add_row(*values, f"{summary.seconds:.1f}")
        console.print(table)
    else:
        counts = ", ".join(f"{number:,} {name}" for name, number in numbers.items())
        console.print(f"{count_of(summary.found, 'image')}: {counts} in {summary.seconds:.1f} s", soft_wrap=True)
    print_gone(summary)
    print_skipped(summary)
    if summary.stale:
        echo(
            f"{count_of(summary.stale, 'refused image')} still stored as before and marked stale; --prune removes them"
        )
    console.print(
        f"{summary.alias} → {summary.collection}: {count_of(points, 'point')} at {location}\n"
        f"Next: {with_alias('retrieval search IMAGE', summary.alias)}",
        soft_wrap=True,
    )
    if dashboard:
        console.print(f"Dashboard: {dashboard}", soft_wrap=True)


def print_skipped(summary: "IngestSummary") -> None:
    """Print how many files were skipped, and name the first."""
    passed = summary.to_json()["passed_over"]
    if passed["count"]:
        more = ", …" if passed["count"] > SHOWN else ""
        names = ", ".join(passed["first"][:SHOWN])
        echo(f"{count_of(passed['count'], 'file')} skipped, in formats that are not supported: {names}{more}")


def print_gone(summary: "IngestSummary") -> None:
    """Name the first of the deleted points, and print how many were kept because their source could not be checked."""
    for name in summary.gone:
        echo(f"gone: {name}")
    if (more := summary.deleted - len(summary.gone)) > 0 and summary.gone:
        echo(f"gone: {more:,} more")
    if summary.unasked:
        kept = f"kept: {count_of(summary.unasked, 'point')} not listed, because their source could not be checked"
        echo(f"{kept}: {summary.unasked_why}")
