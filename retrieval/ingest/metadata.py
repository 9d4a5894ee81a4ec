"""The user's fields of the images: columns of a CSV or Parquet file that become payload fields."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from retrieval.errors import UsageError
from retrieval.schema.records import Payload
from retrieval.schema.user_fields import MAX_TEXT, RESERVED, is_empty
from retrieval.util.extras import needs

SOURCE = "source"
"""The optional column that names the source of a row's image."""

UserFields = dict[tuple[str, str], Payload]
"""An image's source and key → fields for its payload."""


def load_metadata(file: Path, key_column: str, sources: Sequence[str]) -> UserFields:
    """Read fields of the sources' images from a CSV file with a header (all text) or a Parquet file (its own types).

    With a column SOURCE, each row is for the source of that name, and rows of other sources are skipped; without it,
    all rows are for the only source. Empty fields are left out, and so are NaN and infinite numbers, because JSON
    cannot express them and the engines treat them differently.

    file: Parquet if its suffix is `.parquet`, otherwise CSV
    key_column: the column that holds an image's key
    sources: names of all ingested sources

    Raises UsageError for a file that cannot be read, a missing key column, a column named in RESERVED, several sources
    but no column SOURCE, a repeated key, a field longer than MAX_TEXT.
    """
    rows = read_parquet(file) if file.suffix.lower() == ".parquet" else read_csv(file)
    found: UserFields = {}
    number = 0
    for number, row in enumerate(rows, start=1):
        if number == 1:
            check_columns(file, row, key_column, sources)
        key = str(row.pop(key_column))
        name = row.pop(SOURCE, sources[0])
        if is_empty(name):
            raise UsageError(f"{file}: row {number}: {SOURCE} is empty", hint="each row is for one source")
        if name not in sources:
            continue
        if (name, key) in found:
            raise UsageError(f"{file}: row {number}: {key} has a row already", hint="give one row for each image")
        found[name, key] = fields = {column: value for column, value in row.items() if not is_empty(value)}
        if "label" in fields:
            fields["label"] = str(fields["label"])
        for column, value in fields.items():
            if isinstance(value, str) and len(value) > MAX_TEXT:
                raise UsageError(f"{file}: row {number}: {column} has {len(value):,} characters; at most {MAX_TEXT:,}")
    if not number:
        raise UsageError(f"{file} holds no rows")
    return found


def check_columns(file: Path, row: Payload, key_column: str, sources: Sequence[str]) -> None:
    """Raise UsageError for columns that cannot be used. row: the first of the file."""
    if key_column not in row:
        raise UsageError(
            f"{file}: no column {key_column!r}; there are {', '.join(row)}",
            option="key_column",
            hint="name the column that holds an image's key",
        )
    if clash := sorted(RESERVED.intersection(row) - {key_column, SOURCE}):
        raise UsageError(f"{file}: column {clash[0]!r} is a field that retrieval fills itself", hint="rename it")
    if len(sources) > 1 and (SOURCE not in row or key_column == SOURCE):
        raise UsageError(
            f"{file} has no column {SOURCE!r}, and {row[key_column]} may be an image of each of {', '.join(sources)}",
            hint="add that column, or ingest them one by one",
        )


def read_csv(file: Path) -> Iterator[dict[str, Any]]:
    """Rows as text by column; raises UsageError for a file that is not CSV, or a row with more or fewer fields."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            for number, row in enumerate(csv.DictReader(lines, strict=True), start=1):
                if None in row or None in row.values():
                    kind = "more" if None in row else "fewer"
                    raise UsageError(f"{file}: row {number}: {kind} fields than the header")
                yield row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{file} cannot be read as CSV: {error}") from error


def read_parquet(file: Path) -> Iterator[dict[str, Any]]:
    """Rows by column; what JSON cannot express becomes text. Raises UsageError for a file that is not Parquet."""
    with needs("parquet", file):
        from pyarrow import ArrowException, parquet

    try:
        for batch in parquet.ParquetFile(file).iter_batches():
            for row in batch.to_pylist():
                plain = (str, int, float, bool, type(None))
                yield {name: value if isinstance(value, plain) else str(value) for name, value in row.items()}
    except (OSError, ArrowException) as error:
        raise UsageError(f"{file} cannot be read as Parquet: {error}") from error
