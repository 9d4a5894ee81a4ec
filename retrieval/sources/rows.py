"""One column of a Parquet file by row number, with little in memory."""

import bisect
import itertools
import threading
from collections import deque
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

BATCH_BYTES = 8 * 2**20
"""Values read at once, about, by their mean size in the row group; a value is never split."""
MOST_ROWS = 256
KEPT_BATCHES = 4


class Rows:
    """Values of one column, quick when they are asked for nearly in order.

    The last batches are kept for threads that overtake each other; going back further starts the row group again.
    """

    def __init__(self, file: pq.ParquetFile, column: str) -> None:
        """`column` is a dotted path, `image` or `image.bytes`; `file` may be read by others too, under `turn`."""
        self._file = file
        self._column = column
        self.turn = threading.Lock()
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        self.starts = list(itertools.accumulate((group.num_rows for group in groups), initial=0))
        """The first row of each row group, and at the end the number of rows."""
        self._kept: deque[tuple[int, pa.Array]] = deque(maxlen=KEPT_BATCHES)
        self._ahead: Iterator[pa.RecordBatch] = iter(())
        self._next = self._end = 0
        self._damage: dict[int, tuple[int, Exception]] = {}

    def value(self, number: int) -> bytes | None:
        """The value in that row, None for null; raises what pyarrow and the file raise for a damaged one."""
        with self.turn:
            for start, values in self._kept:
                if start <= number < start + len(values):
                    return _bytes(values[number - start].as_py())
            group = bisect.bisect_right(self.starts, number) - 1
            first, error = self._damage.get(group, (self.starts[-1], None))
            if error and number >= first:
                raise error
            if not self._next <= number < self._end:
                self._start(group)
            try:
                while self._next <= number:
                    self._advance()
            except Exception as error:
                self._damage[group] = (self._next, error)
                self._end = 0
                raise
            start, values = self._kept[-1]
            return _bytes(values[number - start].as_py())

    def _start(self, group: int) -> None:
        of_group = self._file.metadata.row_group(group)
        columns = (of_group.column(index) for index in range(of_group.num_columns))
        size = sum(c.total_uncompressed_size for c in columns if c.path_in_schema == self._column)
        mean = max(1, size // of_group.num_rows)
        rows = min(MOST_ROWS, max(1, BATCH_BYTES // mean))
        self._ahead = self._file.iter_batches(rows, row_groups=[group], columns=[self._column])
        self._next, self._end = self.starts[group], self.starts[group + 1]

    def _advance(self) -> None:
        batch = next(self._ahead, None)
        if batch is None:
            raise pa.ArrowInvalid(f"row {self._next:,} is missing")
        self._kept.append((self._next, batch.column(0)))
        self._next += len(batch)


def _bytes(value: dict[str, bytes | None] | bytes | None) -> bytes | None:
    return value["bytes"] if isinstance(value, dict) else value
