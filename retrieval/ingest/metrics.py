"""A run's numbers as Prometheus text, for node_exporter's textfile collector."""

import time
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, write_to_textfile
from prometheus_client.parser import text_string_to_metric_families

from retrieval.errors import UsageError
from retrieval.ingest.summary import COUNTS, Summary

SUCCESS = "retrieval_ingest_last_success_timestamp_seconds"
_DONE = (0, 3)
"""Exit codes of a run that went to its end."""


def write_metrics(file: Path, summary: Summary, exit_code: int) -> None:
    """Replace the file in one step. The time of the last success outlives runs that fail.

    Raises UsageError when it cannot be written.
    """
    registry = CollectorRegistry()

    def gauge(name: str, text: str, value: float, **labels: str) -> None:
        made = Gauge(name, text, ["alias", *labels], registry=registry)
        made.labels(summary.alias, *labels.values()).set(value)

    now = time.time()
    images = Gauge("retrieval_ingest_images", "Images by what became of them.", ["alias", "outcome"], registry=registry)
    for name in COUNTS:
        images.labels(summary.alias, name).set(getattr(summary, name))
    gauge("retrieval_ingest_duration_seconds", "How long the run took.", summary.seconds)
    gauge("retrieval_ingest_exit_code", "0 done, 3 some images refused, others failed.", exit_code)
    gauge("retrieval_ingest_last_run_timestamp_seconds", "When the last run ended.", now)
    success = now if exit_code in _DONE else last_success(file, summary.alias)
    if success:
        gauge(SUCCESS, "When the last run that went to its end ended.", success)
    try:
        write_to_textfile(str(file), registry)
    except OSError as error:
        raise UsageError(f"--metrics-file {file}: cannot be written: {error.strerror}") from error


def last_success(file: Path, alias: str) -> float | None:
    """As the file says that was written before."""
    try:
        families = list(text_string_to_metric_families(file.read_text("utf-8")))
    except (OSError, ValueError):
        return None
    samples = [sample for family in families for sample in family.samples]
    return next((s.value for s in samples if s.name == SUCCESS and s.labels.get("alias") == alias), None)
