"""What the user knows of the images, from a CSV or Parquet file: columns that become payload fields."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from retrieval.errors import UsageError
from retrieval.ingest.payload import MEASURED
from retrieval.records import Payload

RESERVED = MEASURED | {"id", "distance"}
"""Fields with a meaning of their own; `label` may be given."""
MAX_TEXT = 2000
"""Characters in a field: more belongs into a database of its own, and the dashboard shows 50."""


def load_metadata(file: Path, key_column: str) -> dict[str, Payload]:
    """Key of an image → its fields, from a CSV file with a heading (all text) or a Parquet file (its own types).

    Empty fields are left out. Raises UsageError for a file that cannot be read, a missing key column, a column named
    as one of RESERVED, a key that comes twice, a field longer than MAX_TEXT.
    """
    rows = parquet_rows(file) if file.suffix.lower() == ".parquet" else csv_rows(file)
    found: dict[str, Payload] = {}
    for number, row in enumerate(rows, start=1):
        if number == 1:
            check_columns(file, list(row), key_column)
        key = str(row.pop(key_column))
        if key in found:
            raise UsageError(f"{file}: row {number}: {key} came before; each image has one row")
        found[key] = {name: value for name, value in row.items() if value not in (None, "")}
        if "label" in found[key]:
            found[key]["label"] = str(found[key]["label"])
        for name, value in found[key].items():
            if isinstance(value, str) and len(value) > MAX_TEXT:
                raise UsageError(f"{file}: row {number}: {name} has {len(value):,} characters; at most {MAX_TEXT:,}")
    if not found:
        raise UsageError(f"{file} holds no rows")
    return found


def check_columns(file: Path, columns: list[str], key_column: str) -> None:
    """Raise UsageError for columns that cannot be used."""
    if key_column not in columns:
        raise UsageError(f"{file}: no column {key_column!r}; there are {', '.join(columns)}; name it by --key-column")
    if clash := sorted(RESERVED.intersection(columns) - {key_column}):
        raise UsageError(f"{file}: column {clash[0]!r} is a field that retrieval fills itself; rename it")


def csv_rows(file: Path) -> Iterator[dict[str, Any]]:
    """Rows as text by column; raises UsageError for a file that is no CSV, or a row of another length."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            for number, row in enumerate(csv.DictReader(lines, strict=True), start=1):
                if None in row or None in row.values():
                    kind = "more" if None in row else "fewer"
                    raise UsageError(f"{file}: row {number}: {kind} fields than the heading")
                yield row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{file} cannot be read as CSV: {error}") from error


def parquet_rows(file: Path) -> Iterator[dict[str, Any]]:
    """Rows by column; what JSON has no word for becomes text. Raises UsageError for a file that is no Parquet."""
    from pyarrow import ArrowException, parquet

    try:
        for batch in parquet.ParquetFile(file).iter_batches():
            for row in batch.to_pylist():
                plain = (str, int, float, bool, type(None))
                yield {name: value if isinstance(value, plain) else str(value) for name, value in row.items()}
    except (OSError, ArrowException) as error:
        raise UsageError(f"{file} cannot be read as Parquet: {error}") from error
