"""One column of a Parquet file by row number, with little in memory."""

import bisect
import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

BATCH_BYTES = 2 * 2**20
"""Values read at once, about, by their mean size in the row group; a value is never split."""
MOST_ROWS = 256
KEPT_BYTES = 32 * 2**20
"""Batches that are kept, those used last: two for each of eight readers at least, and all that eight readers ask for
who are 32 rows apart and whose values are smaller than 128 kB."""
MOST_CURSORS = 8
"""Places from which reading goes on: of larger values every reader has one, and skips the rows of the others."""


@dataclass(slots=True)
class RowCursor:
    """Batches of a row group that are still to be read, from row `next` on; `end` is the first row behind the group."""

    ahead: Iterator[pa.RecordBatch]
    next: int
    end: int


class Rows:
    """Values of one column, quick when they are asked for nearly in order, by several threads at once.

    A batch is decoded once while the threads are no more than KEPT_BYTES apart. Farther apart, each goes on from the
    nearest cursor behind it; only a row with no cursor behind it starts its row group again.
    """

    def __init__(self, file: pq.ParquetFile, column: str) -> None:
        """`column` is a dotted path, `image` or `image.bytes`; `file` may be read by others too, under `turn`."""
        self._file = file
        self._column = column
        self.turn = threading.Lock()
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        self.starts = list(itertools.accumulate((group.num_rows for group in groups), initial=0))
        """The first row of each row group, and at the end the number of rows."""
        self._kept: OrderedDict[int, pa.Array] = OrderedDict()
        self._kept_starts: list[int] = []
        self._kept_bytes = 0
        self._cursors: list[RowCursor] = []
        self._damage: dict[int, tuple[int, Exception]] = {}

    def value(self, number: int) -> bytes | None:
        """The value in that row, None for null; raises what pyarrow and the file raise for a damaged one."""
        with self.turn:
            place = bisect.bisect_right(self._kept_starts, number) - 1
            start = self._kept_starts[place] if place >= 0 else number
            if start not in self._kept or number >= start + len(self._kept[start]):
                start = self._read(number)
            self._kept.move_to_end(start)
            return _bytes(self._kept[start][number - start].as_py())

    def _read(self, number: int) -> int:
        """The first row of the batch with that row, which is kept now."""
        group = bisect.bisect_right(self.starts, number) - 1
        first, error = self._damage.get(group, (self.starts[-1], None))
        if error and number >= first:
            raise error
        behind = [cursor for cursor in self._cursors if cursor.next <= number < cursor.end]
        cursor = max(behind, key=lambda each: each.next) if behind else self._begin(group)
        self._cursors = [each for each in self._cursors if each is not cursor][-MOST_CURSORS + 1 :]
        try:
            while cursor.next <= number:
                start = self._advance(cursor)
        except Exception as error:
            self._damage[group] = (cursor.next, error)
            raise
        self._cursors.append(cursor)
        return start

    def _begin(self, group: int) -> RowCursor:
        of_group = self._file.metadata.row_group(group)
        columns = (of_group.column(index) for index in range(of_group.num_columns))
        size = sum(c.total_uncompressed_size for c in columns if c.path_in_schema == self._column)
        mean = max(1, size // of_group.num_rows)
        rows = min(MOST_ROWS, max(1, BATCH_BYTES // mean))
        batches = self._file.iter_batches(rows, row_groups=[group], columns=[self._column])
        return RowCursor(batches, self.starts[group], self.starts[group + 1])

    def _advance(self, cursor: RowCursor) -> int:
        """Keep the next batch, in place of those that were not used for longest; returns its first row."""
        batch = next(cursor.ahead, None)
        if batch is None:
            raise pa.ArrowInvalid(f"row {cursor.next:,} is missing")
        start, values = cursor.next, batch.column(0)
        cursor.next += len(batch)
        if start not in self._kept:
            bisect.insort(self._kept_starts, start)
            self._kept[start] = values
            self._kept_bytes += values.nbytes
        self._kept.move_to_end(start)
        while self._kept_bytes > KEPT_BYTES and len(self._kept) > 1:
            gone, old = self._kept.popitem(last=False)
            self._kept_starts.remove(gone)
            self._kept_bytes -= old.nbytes
        return start


def _bytes(value: dict[str, bytes | None] | bytes | None) -> bytes | None:
    return value["bytes"] if isinstance(value, dict) else value
