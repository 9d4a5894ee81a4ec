"""Parquet files with a column of images, as written by Hugging Face's `datasets` and others.

Only the needed columns are read, a batch of rows at a time. Listing reads the images' names and, if requested, their
labels, but not the images, so that their sizes are unknown before reading.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any, BinaryIO

import pyarrow.compute as pc
import pyarrow.parquet as pq

from retrieval.errors import BadImage, SourceError
from retrieval.schema.records import Root, full_name
from retrieval.sources.base import Entry, check_size, folder_label
from retrieval.sources.filesystem import one_line
from retrieval.sources.parquet_columns import find_columns
from retrieval.sources.parquet_rows import Rows
from retrieval.sources.presence import Snapshot
from retrieval.sources.row_keys import RowKeys

BUFFER_BYTES = 2**20
"""Bytes read from a column at once; without a limit, a row group's whole column would be in memory."""


class Parquet:
    """The rows of a Parquet file, in their order; their keys are `RowKeys`."""

    whole = True
    portable = False

    def __init__(
        self,
        name: str,
        root: Root,
        file: str | BinaryIO,
        mtime_ns: int,
        snapshot: Snapshot,
        *,
        labels: bool = False,
    ) -> None:
        """Read the file's footer and its images' paths.

        snapshot: taken before the file was opened

        Raises SourceError for a damaged file or one without images.
        """
        self.name = name
        self.spec = spec = root.path
        self._root, self._snapshot = root, snapshot
        self._mtime_ns = mtime_ns
        self.labels = labels
        try:
            self._file = pq.ParquetFile(file, buffer_size=BUFFER_BYTES, pre_buffer=False)
            self._columns = find_columns(spec, self._file.schema_arrow)
            self._keys = RowKeys(self._read_paths(), self._file.metadata.num_rows)
        except SourceError:
            raise
        except Exception as error:  # pyarrow's, and by URL each protocol's own
            raise SourceError(
                f"{spec} cannot be read as Parquet: {one_line(error)}", hint="check that the file is complete"
            ) from error
        self._rows = Rows(self._file, self._columns.image)

    def entries(self) -> Iterator[Entry]:
        """Every row, a row group at a time; raises SourceError if there is none or the labels cannot be read."""
        starts = self._rows.starts
        if not starts[-1]:
            raise SourceError(f"{self.spec} holds no rows")
        for group, start in enumerate(starts[:-1]):
            labels = self._read_labels(group)
            for number in range(start, starts[group + 1]):
                key = self._keys.key(number)
                label = (labels[number - start] if labels else folder_label(key)) if self.labels else None
                yield Entry(self.name, key, 0, self._mtime_ns, label, partial(self._read, number, key), in_turn=True)

    def read(self, key: str) -> bytes:
        """The image with that key; raises BadImage."""
        number = self._keys.number(key)
        if number is None:
            raise BadImage(full_name(self.name, key), f"no such image in {self.spec}")
        return self._read(number, key)

    def identify(self) -> Root:
        """The file's path or URL."""
        return self._root

    def check_unchanged(self) -> None:
        """Raise SourceError if the file was replaced or changed since its footer was read."""
        self._snapshot.check()

    def has(self, key: str) -> bool:
        """Whether a row has that key."""
        return self._keys.number(key) is not None

    def _read(self, number: int, key: str) -> bytes:
        where = full_name(self.name, key)
        try:
            data = self._rows.value(number)
        except Exception as error:  # pyarrow's, and by URL each protocol's own
            raise BadImage(where, f"row {number:,} of {self.spec} cannot be read: {one_line(error)}") from error
        if data is None:
            raise BadImage(where, f"row {number:,} of {self.spec} holds no image, only a null")
        check_size(len(data), where)
        return data

    def _read_paths(self) -> Any:
        """The paths stored with the images, an Arrow array of strings; None if there are none."""
        if self._columns.path is None:
            return None
        return pc.struct_field(self._file.read([self._columns.path], use_threads=False).column(0), 0).combine_chunks()

    def _read_labels(self, group: int) -> list[str | None] | None:
        """The labels of a row group; None if they were not requested or there is no column of labels."""
        if not self.labels or self._columns.label is None:
            return None
        try:
            with self._rows.turn:
                column = self._file.read_row_group(group, [self._columns.label], use_threads=False).column(0)
        except Exception as error:  # pyarrow's, and by URL each protocol's own
            raise SourceError(f"{self.spec}: its labels cannot be read: {one_line(error)}") from error
        return [self._columns.label_of(value) for value in column.to_pylist()]
