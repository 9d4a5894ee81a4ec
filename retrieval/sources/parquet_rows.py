"""Read one column of a Parquet file by row number, with bounded memory."""

import bisect
import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

BATCH_BYTES = 2 * 2**20
"""Approximate bytes read at once, by the mean size of a value in the row group; a value is never split."""
MOST_ROWS = 256
KEPT_BYTES = 32 * 2**20
"""Size of the cache of recently used batches: at least two batches for each of eight readers, and everything that eight
readers need who are 32 rows apart, if values are smaller than 128 kB."""
MOST_CURSORS = 8
"""Positions at which reading can continue. With larger values, each of eight readers has its own, and skips the rows of
the others."""


@dataclass(slots=True)
class RowCursor:
    """A position in a row group.

    ahead: the batches not yet read
    next: the first row of the next batch
    end: the first row after the group
    """

    ahead: Iterator[pa.RecordBatch]
    next: int
    end: int


class Rows:
    """Values of one column; fast if several threads request them nearly in order.

    Each batch is decoded once as long as the threads are at most KEPT_BYTES apart. Farther apart, each continues from
    the nearest cursor before its row; only a row with no cursor before it starts its row group again.
    """

    def __init__(self, file: pq.ParquetFile, column: str) -> None:
        """Prepare to read; others may read `file` too while they hold `turn`.

        column: a dotted name, `image` or `image.bytes`
        """
        self._file = file
        self._column = column
        self.turn = threading.Lock()
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        self.starts = list(itertools.accumulate((group.num_rows for group in groups), initial=0))
        """The first row of each row group, then the number of rows."""
        self._kept: OrderedDict[int, pa.Array] = OrderedDict()
        self._kept_starts: list[int] = []
        self._kept_bytes = 0
        self._cursors: list[RowCursor] = []
        self._damage: dict[int, tuple[int, Exception]] = {}

    def value(self, number: int) -> bytes | None:
        """The value in that row, None for null; raises errors of pyarrow and the file system for a damaged file."""
        with self.turn:
            place = bisect.bisect_right(self._kept_starts, number) - 1
            start = self._kept_starts[place] if place >= 0 else number
            if start not in self._kept or number >= start + len(self._kept[start]):
                start = self._read(number)
            self._kept.move_to_end(start)
            return _bytes(self._kept[start][number - start].as_py())

    def _read(self, number: int) -> int:
        """Read and cache the batch that holds the row; returns the batch's first row."""
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
        # no threads of Arrow's: one that lets go of a remote file while the interpreter ends would abort the process
        batches = self._file.iter_batches(rows, row_groups=[group], columns=[self._column], use_threads=False)
        return RowCursor(batches, self.starts[group], self.starts[group + 1])

    def _advance(self, cursor: RowCursor) -> int:
        """Cache the next batch in place of the least recently used ones; returns its first row."""
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
