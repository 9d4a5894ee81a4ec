"""A run's numbers as Prometheus text, for node_exporter's textfile collector."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile
from prometheus_client.parser import text_string_to_metric_families

from retrieval.errors import REFUSED, UsageError
from retrieval.ingest.summary import COUNTS, IngestSummary
from retrieval.util.files import write_error

_DONE = (0, REFUSED)
"""Exit codes of a completed run."""


def write_metrics(
    file: Path, summary: IngestSummary, exit_code: int, job: str = "ingest", gate: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Write the file, replacing it in one step. A failed run keeps the time of the last success.

    file: to be written
    summary: counts of the run
    exit_code: of the run
    job: `ingest` or `reindex`, part of each metric's name
    gate: the gate's rows of a re-index, `{check, value, …}`

    Raises UsageError when the file cannot be written.
    """
    registry = CollectorRegistry()
    success = f"retrieval_{job}_last_success_timestamp_seconds"

    def add_gauge(name: str, text: str, value: float, **labels: str) -> None:
        made = Gauge(f"retrieval_{job}_{name}", text, ["alias", *labels], registry=registry)
        made.labels(summary.alias, *labels.values()).set(value)

    now = time.time()
    images = Gauge(f"retrieval_{job}_images", "Images by outcome.", ["alias", "outcome"], registry=registry)
    for name in COUNTS:
        images.labels(summary.alias, name).set(getattr(summary, name))
    add_gauge("duration_seconds", "How long the run took.", summary.seconds)
    add_gauge("exit_code", "0 done, 3 some images refused, others failed.", exit_code)
    add_gauge("last_run_timestamp_seconds", "When the last run ended.", now)
    if ended := now if exit_code in _DONE else read_last_success(file, success, summary.alias):
        add_gauge("last_success_timestamp_seconds", "When the last completed run ended.", ended)
    if gate:
        rows = Gauge(f"retrieval_{job}_gate", "What the gate measured.", ["alias", "check"], registry=registry)
        for row in gate:
            if row["value"] is not None:
                rows.labels(summary.alias, row["check"]).set(row["value"])
    try:
        write_to_textfile(str(file), registry)
    except OSError as error:
        raise write_error(file, error, UsageError, option="metrics_file") from error


def read_last_success(file: Path, name: str, alias: str) -> float | None:
    """The time of the last success, from the file that an earlier run wrote."""
    try:
        families = list(text_string_to_metric_families(file.read_text("utf-8")))
    except (OSError, ValueError):
        return None
    samples = [sample for family in families for sample in family.samples]
    return next((s.value for s in samples if s.name == name and s.labels.get("alias") == alias), None)
