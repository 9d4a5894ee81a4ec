"""Data sets that Hugging Face's `datasets` has saved to disk: a folder of Arrow files, or a folder of such splits.

The files are mapped into memory, so that the system reads and forgets their pages as needed; `datasets` is not needed.
"""

import itertools
import json
import socket
import stat
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from retrieval.errors import BadImage, SourceError
from retrieval.schema.records import Root, full_name
from retrieval.schema.user_fields import take_fields
from retrieval.sources.base import Entry, check_size, folder_label
from retrieval.sources.filesystem import one_line
from retrieval.sources.parquet_columns import find_columns, find_fields, name_class
from retrieval.sources.presence import Snapshot, file_state
from retrieval.sources.row_keys import RowKeys
from retrieval.sources.tables import STATE

LARGEST = 2**24
"""Bytes of a JSON file that is read."""
ROWS = 1000
"""Rows whose labels and fields are read at once."""
END = b"\xff\xff\xff\xff\0\0\0\0"
"""How an Arrow stream ends."""
_SAVE_AGAIN = "save the data set again with `save_to_disk`"


class SavedDataset:
    """The rows of one saved data set (one split), in their order, with its labels and plain columns as fields."""

    whole = True
    portable = False

    def __init__(self, name: str, folder: Path, *, labels: bool = False) -> None:
        """Map the files; raises SourceError if one is missing or damaged, or if there is no column of images."""
        self.name = name
        self.spec = str(folder)
        self.labels = labels
        files = [folder / STATE, *_data_files(folder / STATE)]
        self._snapshot = Snapshot(self.spec, lambda: [file_state(file) for file in files])
        self._mtime_ns = max((state[-1] for file in files if (state := file_state(file))), default=0)
        tables = [_map_file(file) for file in files[1:]]
        schema = tables[0].schema
        columns = self._columns = find_columns(self.spec, schema)
        self._fields = find_fields(schema, columns)
        plain = [*self._fields, *([columns.label] if columns.label else [])]
        try:
            table = pa.concat_tables(tables)
            self._plain = table.select(plain)
            self._images = _read_column(table, columns.image)
            for part in (self._images, self._plain):
                part.validate(full=True)
            paths = _read_column(table, columns.path).combine_chunks() if columns.path else None
            self._keys = RowKeys(paths, len(table))
        except pa.ArrowException as error:
            raise _damaged(self.spec, error) from error

    def entries(self) -> Iterator[Entry]:
        """Every row; raises SourceError if there is none."""
        if not len(self._images):
            raise SourceError(f"{self.spec} holds no rows")
        rows = itertools.chain.from_iterable(batch.to_pylist() for batch in self._plain.to_batches(max_chunksize=ROWS))
        for number, row in enumerate(rows if self._plain.num_columns else itertools.repeat({}, len(self._images))):
            key = self._keys.key(number)
            label = self._columns.label_of(row[self._columns.label]) if self._columns.label else None
            label = label or (folder_label(key) if self.labels else None)
            fields = take_fields({name: name_class(row[name], classes) for name, classes in self._fields.items()})
            fetch = partial(self._read, number, key)
            yield Entry(self.name, key, 0, self._mtime_ns, label, fetch, fields=fields or None)

    def read(self, key: str) -> bytes:
        """The image with that key; raises BadImage."""
        number = self._keys.number(key)
        if number is None:
            raise BadImage(full_name(self.name, key), f"no such image in {self.spec}")
        return self._read(number, key)

    def identify(self) -> Root:
        """The folder's path; not its inode, because a data set is saved again into a new folder."""
        return Root(self.spec, socket.gethostname())

    def check_unchanged(self) -> None:
        """Raise SourceError if a file was replaced or changed since the files were mapped."""
        self._snapshot.check()

    def has(self, key: str) -> bool:
        """Whether a row has that key."""
        return self._keys.number(key) is not None

    def _read(self, number: int, key: str) -> bytes:
        where = full_name(self.name, key)
        buffer = self._images[number].as_buffer()
        if buffer is None:
            raise BadImage(where, f"row {number:,} of {self.spec} holds no image, only a null or a path")
        check_size(buffer.size, where)
        return bytes(buffer.to_pybytes())


def split_names(file: Path) -> Sequence[str]:
    """The splits that a saved DatasetDict's file names; raises SourceError."""
    return _check_names(file, _read_json(file).get("splits"))


def _data_files(file: Path) -> list[Path]:
    """The Arrow files that a saved data set's state names, in order; raises SourceError."""
    state = _read_json(file)
    if state.get("_indices_data_files"):
        raise SourceError(f"{file.parent} was saved by an old version of datasets", hint=_SAVE_AGAIN)
    listed = state.get("_data_files")
    if isinstance(listed, list):
        listed = [each.get("filename") if isinstance(each, dict) else each for each in listed]
    return [file.with_name(name) for name in _check_names(file, listed)]


def _check_names(file: Path, names: object) -> Sequence[str]:
    """The names, of files beside this one; raises SourceError for anything else."""
    if not isinstance(names, list) or not names:
        raise SourceError(f"{file} does not name the files of a data set", hint=_SAVE_AGAIN)
    for name in names:
        if not isinstance(name, str) or not name or name.startswith(".") or {"/", "\\", "\0"} & set(name):
            raise SourceError(f"{file}: {name!r} is not a name in its folder", hint=_SAVE_AGAIN)
    return names


def _read_json(file: Path) -> dict[str, Any]:
    try:
        _check_regular(file)
        with file.open("rb") as content:
            data = json.loads(content.read(LARGEST))
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{file} cannot be read: {one_line(error)}", hint=_SAVE_AGAIN) from error
    return data if isinstance(data, dict) else {}


def _read_column(table: pa.Table, dotted: str) -> pa.ChunkedArray:
    """A column, or a field of a column of structs."""
    if dotted in table.column_names:
        return table.column(dotted)
    name, _, field = dotted.rpartition(".")
    column = table.column(name)
    return pc.struct_field(column, column.type.get_field_index(field))


def _map_file(file: Path) -> pa.Table:
    try:
        _check_regular(file)
        with file.open("rb") as content:
            content.seek(max(0, file.stat().st_size - len(END)))
            if content.read() != END:
                raise SourceError(
                    f"{file} does not end as an Arrow stream does", hint="check that the file is complete"
                )
        return pa.ipc.open_stream(pa.memory_map(str(file))).read_all()
    except (OSError, pa.ArrowException) as error:
        raise _damaged(str(file), error) from error


def _check_regular(file: Path) -> None:
    """Raise OSError unless it is a file: opening a pipe that has no writer would wait forever."""
    if not stat.S_ISREG(file.stat().st_mode):
        raise OSError("not a file")


def _damaged(where: str, error: Exception) -> SourceError:
    return SourceError(f"{where} cannot be read as Arrow: {one_line(error)}", hint="check that the file is complete")
