"""The record of refused images. It is kept between runs, so that these are not opened again until they change."""

import contextlib
import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from retrieval.errors import StoreError
from retrieval.schema.records import STALE, utc_now
from retrieval.sources import Entry
from retrieval.sources.base import PassedOver
from retrieval.sources.read import Refused
from retrieval.util.files import RERUN, write_error, write_json

LedgerRow = dict[str, Any]


class Ledger:
    """JSON lines `{source, path, reason, time, bytes, mtime_ns, lasting}` of one alias at one engine.

    A row also has `stale` where the collection still holds an earlier state of the image.
    """

    def __init__(self, folder: Path, location: str, alias: str) -> None:
        """Read the file, without a last line that a killed run left unfinished. Raises StoreError."""
        engine = hashlib.sha256(location.encode()).hexdigest()[:8]
        self.path = folder / f"{alias}-{engine}.jsonl"  # an alias is a safe file name
        self._rows: dict[tuple[str, str], LedgerRow] = {}
        self._listed: set[tuple[str, str]] = set()
        try:
            lines = self.path.read_text("utf-8").splitlines() if self.path.exists() else []
        except (OSError, UnicodeDecodeError) as error:
            raise StoreError(f"{self.path} cannot be read: {error}", hint="delete it") from error
        for line in lines:
            try:
                row = json.loads(line)
                self._rows[row["source"], row["path"]] = row
            except (ValueError, KeyError, TypeError):
                continue

    def has_row(self, entry: Entry) -> bool:
        """Whether the image has a row."""
        return (entry.source, entry.key) in self._rows

    def mark_listed(self, entry: Entry) -> None:
        """Keep the image's row, if it has one, when the ledger is closed: the image is still there."""
        if self.has_row(entry):
            self._listed.add((entry.source, entry.key))

    def find_reason(self, entry: Entry) -> str | None:
        """Why the image was refused for its content; None if it was not, or has changed since."""
        row = self._rows.get((entry.source, entry.key))
        if row is None:
            return None
        same = entry.mtime_ns and (row.get("bytes"), row.get("mtime_ns")) == (entry.bytes, entry.mtime_ns)
        return str(row.get("reason")) if same and row.get("lasting") else None

    def was_unreadable(self, entry: Entry) -> bool:
        """Whether the image was refused before because it could not be read, which may be temporary."""
        row = self._rows.get((entry.source, entry.key))
        return row is not None and not row.get("lasting")

    def add(self, refused: list[Refused]) -> list[LedgerRow]:
        """Write images refused in this run to the file at once; returns their rows."""
        now = utc_now()
        rows = []
        for item in refused:
            key = (item.entry.source, item.entry.key)
            if not item.again or item.reason != self._rows[key].get("reason"):
                row = {**item.to_json(), "time": now, "bytes": item.entry.bytes, "mtime_ns": item.entry.mtime_ns}
                self._rows[key] = {**row, "lasting": item.lasting}
                self._write(self.path, "a", [self._rows[key]])
            elif item.stale != (STALE in self._rows[key]):
                row = {name: value for name, value in self._rows[key].items() if name != STALE}
                self._rows[key] = {**row, STALE: True} if item.stale else row
            row = self._rows[key]
            self._listed.add(key)
            rows.append(row)
        return rows

    def settle(self, entries: list[Entry]) -> None:
        """Remove the rows of these images, which are stored now."""
        for entry in entries:
            self._rows.pop((entry.source, entry.key), None)

    def close(self, listed: set[str]) -> None:
        """Rewrite the file without images that are gone. listed: the sources whose listings were complete."""
        self._replace([row for key, row in self._rows.items() if key in self._listed or key[0] not in listed])

    def forget(self, source: str) -> None:
        """Rewrite the file without the source's rows."""
        self._replace([row for key, row in self._rows.items() if key[0] != source])

    def _replace(self, rows: list[LedgerRow]) -> None:
        if not rows:
            self.path.unlink(missing_ok=True)
            return
        draft = self.path.with_suffix(".new")
        self._write(draft, "w", rows)
        draft.replace(self.path)

    def write_passed_over(self, passed: dict[str, PassedOver]) -> None:
        """Record in a file beside the ledger which images of these sources were passed over; keep the other sources."""
        path = self.path.with_suffix(".passed-over.json")
        with contextlib.suppress(OSError, ValueError):
            before = json.loads(path.read_text("utf-8"))
            passed = {**{name: PassedOver(**row) for name, row in before.items()}, **passed}
        rows = {name: asdict(each) for name, each in passed.items() if each.count}
        try:
            if rows:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_json(path, rows)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise write_error(path, error, StoreError, hint=RERUN) from error

    def _write(self, path: Path, mode: str, rows: list[LedgerRow]) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open(mode, encoding="utf-8") as file:
                file.writelines(f"{json.dumps(row)}\n" for row in rows)
        except OSError as error:
            raise write_error(path, error, StoreError, hint=RERUN) from error
