"""The history of jobs: a small file for each run under `$RETRIEVAL_HOME/jobs`, the newest thousand of them."""

import contextlib
import datetime as dt
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retrieval.errors import INTERRUPTED, REFUSED, TERMINATED, GateRefused, Locked
from retrieval.schema.records import utc_now
from retrieval.util.files import write_json
from retrieval.util.process import is_dead, this_process

MOST = 1000
"""Maximum number of records: six weeks of an hourly job."""
RUNNING = "running"
OUTCOMES = {
    **dict.fromkeys((0, REFUSED), "done"),
    Locked.exit_code: "locked",
    GateRefused.exit_code: "refused",
    INTERRUPTED: "interrupted",
    TERMINATED: "terminated",
}
"""By exit code; any other is `failed`."""


class JobRecord:
    """The record of a run, from construction to `end`. `facts` are added to it.

    If the home cannot be written to, the record is lost and the job continues.
    """

    def __init__(self, folder: Path, job: str, alias: str) -> None:
        process = this_process()
        self.facts: dict[str, Any] = {}
        self.exit_code = 1
        self._started = time.monotonic()
        self._record: dict[str, Any] = {
            "job": job,
            "alias": alias,
            "started": utc_now(),
            "outcome": RUNNING,
            **{name: process[name] for name in ("command", "host", "pid", "process_started", "place")},
        }
        self._file = folder / f"{dt.datetime.now(dt.UTC):%Y%m%dt%H%M%S.%fz}-{process['pid']}.json"
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            for old in list_files(folder)[MOST - 1 :]:
                old.unlink(missing_ok=True)
        self._write()

    def end(self, exit_code: int) -> None:
        """Record how the run ended."""
        self.exit_code = exit_code
        seconds = round(time.monotonic() - self._started, 2)
        outcome = OUTCOMES.get(exit_code, "failed")
        own = {"ended": utc_now(), "seconds": seconds, "outcome": outcome, "exit_code": exit_code}
        self._record |= {**self.facts, **own}
        self._write()

    def _write(self) -> None:
        with contextlib.suppress(OSError):
            write_json(self._file, self._record)


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The records, newest first. A run that recorded no end and whose process is gone is `killed`."""
    found = []
    for file in list_files(folder):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # deleted meanwhile, or damaged
            record = dict(json.loads(file.read_text("utf-8")))
            if record["outcome"] == RUNNING and is_dead(record):
                record["outcome"] = "killed"
            found.append(record)
    return found


def list_files(folder: Path) -> list[Path]:
    """The records' files, newest first, by the time in their names."""
    return sorted(folder.glob("*.json"), reverse=True)


def summarize(facts: Mapping[str, Any]) -> str:
    """What a run did, in a few words for a table."""
    counts = [f"{facts[name]:,} {name}" for name in ("encoded", "copied", "deleted", "failed") if facts.get(name)]
    return str(facts.get("error") or ", ".join(counts))
