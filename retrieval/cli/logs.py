"""Logs on stderr: JSON lines of jobs for machines, plain lines of the service for people."""

import logging
from typing import Any

from retrieval.util.sanitize import escape_unprintable

LOGGER = logging.getLogger("retrieval")


def log_json() -> None:
    """From now on, log as JSON, retries of requests to the server (stamina) included."""
    from pythonjsonlogger.json import JsonFormatter

    handler = logging.StreamHandler()
    names = {"asctime": "time", "levelname": "level", "message": "event"}
    handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(message)s", rename_fields=names))
    logging.disable(logging.NOTSET)
    for name in ("retrieval", "stamina"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False


def log_lines() -> None:
    """From now on, log errors to stderr as plain lines, with control characters made visible."""

    class Lines(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            return escape_unprintable(super().format(record), keep="\n")  # tracebacks of defects have several

    handler = logging.StreamHandler()
    handler.setFormatter(Lines())
    logging.getLogger().addHandler(handler)


def is_json() -> bool:
    """Whether `log_json` was called."""
    return bool(LOGGER.handlers)


def log(event: str, level: int = logging.INFO, **fields: Any) -> None:
    """Log one line if logs are JSON."""
    if is_json():
        LOGGER.log(level, event, extra=fields)
