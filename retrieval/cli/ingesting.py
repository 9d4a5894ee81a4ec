"""What a person and a monitor see of an ingest: the bar, the log, the numbers, the summary."""

import contextlib
import json
import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from retrieval.cli.common import DEFAULT_ALIAS, INTERRUPTED, REFUSED, one_line, progress_bar
from retrieval.cli.logs import is_json, log
from retrieval.errors import RetrievalError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from retrieval.ingest import Summary

LOG_SECONDS = 10.0
"""Between two lines of progress in a JSON log."""
TERMINATED = 143
"""Exit code after SIGTERM."""


class Watch:
    """Follows a run: `report` is called after each batch, `summary` is how far it came."""

    def __init__(self, alias: str, bar: Any) -> None:
        from retrieval.ingest import Summary

        self.summary = Summary(alias, None)
        self._bar, self._task = bar, bar.add_task("Ingesting", total=None, note="")
        self._logged = time.monotonic()

    def report(self, summary: "Summary") -> None:
        """Move the bar; log now and then."""
        self.summary = summary
        rate = summary.done / max(summary.seconds, 1e-9)
        note = f"{summary.unchanged:,} unchanged, {summary.failed:,} refused, {rate:,.0f} images/s"
        total = summary.found if summary.listed else None
        self._bar.update(self._task, completed=summary.done, total=total, note=note)
        if time.monotonic() - self._logged > LOG_SECONDS:
            self._logged = time.monotonic()
            log("progress", **counts(summary))


@contextlib.contextmanager
def watched(alias: str, metrics_file: Path | None) -> Iterator[Watch]:
    """Show a run while the block lasts; however it ends, say how far it came, and write its numbers."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    code = 1
    with progress_bar("note") as bar:
        watch = Watch(alias, bar)
        try:
            yield watch
            code = REFUSED if watch.summary.failed else 0
        except RetrievalError as error:
            code = error.exit_code
            raise
        except KeyboardInterrupt:
            code = INTERRUPTED
            raise
        except SystemExit:
            code = TERMINATED
            raise
        finally:
            signal.signal(signal.SIGTERM, before)
            bar.stop()
            log("ingest ended", exit_code=code, **counts(watch.summary))
            if code not in (0, REFUSED) and watch.summary.done and not is_json():
                typer.echo(f"stored so far: {watch.summary.done:,} of {watch.summary.found:,} images listed", err=True)
            if metrics_file:
                from retrieval.ingest.metrics import write_metrics

                write_metrics(metrics_file, watch.summary, code)


@contextlib.contextmanager
def errors_to(file: Path | None) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
    """What takes the ledger's rows of refused images: to the log, and to the file as JSON lines."""
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
            raise UsageError(f"--errors {file}: cannot be written: {error.strerror}") from error
        raise


def counts(summary: "Summary") -> dict[str, Any]:
    """The summary's numbers without its lists."""
    numbers = summary.to_json()
    del numbers["refused"]
    return numbers


def print_plan(summary: "Summary", console: "Console") -> None:
    """What a run would do."""
    console.print(
        f"{summary.found:,} images: {summary.new:,} new and {summary.changed:,} changed would be opened,"
        f" {summary.unchanged:,} unchanged, {summary.failed:,} refused before, {summary.deleted:,} points would be"
        f" deleted; nothing was done ({summary.seconds:.1f} s)",
        soft_wrap=True,
    )
    print_gone(summary, console)


def print_summary(summary: "Summary", points: int, location: str, console: "Console") -> None:
    """What a run did: a table on a terminal, else a line."""
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
        said = ", ".join(f"{number:,} {name}" for name, number in numbers.items())
        console.print(f"{summary.found:,} images: {said} in {summary.seconds:.1f} s", soft_wrap=True)
    print_gone(summary, console)
    following = "" if summary.alias == DEFAULT_ALIAS else f" --alias {summary.alias}"
    console.print(
        f"{summary.alias} → {summary.collection}: {points:,} points at {location}\n"
        f"Next: retrieval search IMAGE{following}",
        soft_wrap=True,
    )


def print_gone(summary: "Summary", console: "Console") -> None:
    """The first of the deleted points by name."""
    for name in summary.gone:
        console.print(one_line(f"gone: {name}"), soft_wrap=True, markup=False)
    if (more := summary.deleted - len(summary.gone)) > 0 and summary.gone:
        console.print(f"gone: {more:,} more")
