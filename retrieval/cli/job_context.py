"""Progress, log, metrics and history of a job, while it runs and however it ends."""

import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieval.cli.console import echo, progress_bar
from retrieval.cli.logs import is_json, log
from retrieval.cli.options import as_flag
from retrieval.errors import INTERRUPTED, REFUSED, TERMINATED, RetrievalError
from retrieval.util.sanitize import redact
from retrieval.util.wording import count_of

if TYPE_CHECKING:
    from retrieval.ingest.summary import IngestSummary
    from retrieval.ops.job_history import JobRecord

STARTING = "listing, loading the model"
"""Shown until the first images are done."""
LOG_SECONDS = 10.0
"""Time between two lines of progress in a JSON log."""


class Watch:
    """Follows a run: call `report` after each batch; `summary` is the progress so far, `facts` go into the record."""

    def __init__(self, alias: str, bar: Any, run: "JobRecord") -> None:
        from retrieval.ingest.summary import IngestSummary

        self.summary = IngestSummary(alias, None)
        self.facts = run.facts
        self.bar, self._task = bar, bar.add_task("Ingesting", total=None, unit="image", note=STARTING)
        self._logged = time.monotonic()

    def say(self, step: str) -> None:
        """Name the step that begins."""
        self.bar.update(self._task, description=step.capitalize(), completed=0, total=None, note="")
        log(step)

    def note(self, text: str) -> None:
        """Say what is waited for, until the next progress."""
        self.bar.update(self._task, note=text)

    def report(self, summary: "IngestSummary") -> None:
        """Move the bar; log every LOG_SECONDS."""
        self.summary = summary
        self.facts |= summary.numbers()
        rate = summary.done / max(summary.seconds, 1e-9)
        note = f"{summary.unchanged:,} unchanged, {summary.failed:,} refused, {rate:,.0f} images/s"
        total = summary.found if summary.listed else None
        self.bar.update(self._task, completed=summary.done, total=total, note=note)
        if time.monotonic() - self._logged > LOG_SECONDS:
            self._logged = time.monotonic()
            log("progress", **summary.numbers())


@contextlib.contextmanager
def record_job(job: str, alias: str, folder: Path) -> Iterator["JobRecord"]:
    """Record the block as a job in the history; SIGTERM ends it as Ctrl-C does, with its own exit code."""
    from retrieval.ops.job_history import JobRecord

    run, code = JobRecord(folder, job, alias), 1
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    try:
        yield run
        code = REFUSED if run.facts.get("failed") else 0
    except RetrievalError as error:
        code, run.facts["error"] = error.exit_code, redact(error.text(as_flag))
        raise
    except KeyboardInterrupt:
        code = INTERRUPTED
        raise
    except SystemExit:
        code = TERMINATED
        raise
    except Exception as error:
        run.facts["error"] = redact(f"{type(error).__name__}: {error}")
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        run.end(code)
        log(f"{job} ended", exit_code=code, **run.facts)


@contextlib.contextmanager
def watch_job(job: str, alias: str, folder: Path, metrics_file: Path | None) -> Iterator[Watch]:
    """Show and record a run while the block lasts; however it ends, print the progress and write the metrics."""
    with contextlib.ExitStack() as last, progress_bar() as bar, record_job(job, alias, folder) as run:
        watch = Watch(alias, bar, run)
        last.callback(lambda: finish_job(job, watch.summary, run, metrics_file))
        last.callback(bar.stop)
        yield watch


def finish_job(job: str, summary: "IngestSummary", run: "JobRecord", metrics_file: Path | None) -> None:
    """Print how far a failed run got, and write the metrics."""
    code = run.exit_code
    if code not in (0, REFUSED) and summary.done and not is_json():
        echo(f"stored so far: {summary.done:,} of {count_of(summary.found, 'image')} listed", err=True)
    if metrics_file:
        from retrieval.ingest.metrics import write_metrics

        write_metrics(metrics_file, summary, code, job, run.facts.get("gate", ()))
