"""Export a collection to a Parquet or `.npz` file: ids, embeddings and payloads.

The collection is read twice, a page at a time: first to find the fields and their types, then to write them. An `.npz`
is made from a Parquet file, column by column, so that the two never differ.
"""

import itertools
import json
import os
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, TypeVar

import numpy as np

from retrieval.errors import RetrievalError, StoreError, UsageError
from retrieval.ops.export_images import FEATURES, IMAGE, ExportedImages
from retrieval.schema.filter_language import parse
from retrieval.schema.filters import Filter
from retrieval.schema.records import FIELDS, CollectionMeta, Point, codes_of, utc_now
from retrieval.search.fields import check_fields
from retrieval.sources import Source
from retrieval.store.base import Store, resolve
from retrieval.util.extras import needs
from retrieval.util.files import open_atomic, write_error
from retrieval.util.reporting import ReportCount, ignore

with needs("parquet", "an export"):
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

PAGE = 1000
"""Points read at once, and rows converted at once."""
GROUP_BYTES = 2 * 2**20
"""Approximate bytes of embeddings and payloads in a row group; one is in memory at once, and Arrow's copies of it."""
EXACT = 2**53
"""Largest whole number up to which float64 holds all exactly."""
FORMAT = 1
"""Version of the file's format; raised when programs that read the earlier one would read a file wrongly."""
OWN = ("id", "code", "metadata")
"""Names in the file that a user's field cannot have: two columns, and in an `.npz` the file's metadata."""
PREFIX = "payload."
"""Added before the name of a user's field that would have such a name."""

Kind = Literal["text", "whole", "number", "truth"]
TYPES = {"text": pa.string(), "whole": pa.int64(), "number": pa.float64(), "truth": pa.bool_()}
DTYPES = {"whole": "<i8", "number": "<f8", "truth": "|b1"}
FILLERS: dict[Kind, Any] = {"text": "", "whole": 0, "number": np.nan, "truth": False}
"""Values for missing fields in an `.npz`."""
T = TypeVar("T")


class Column(NamedTuple):
    """A field of the payloads, under its name in the file."""

    field: str
    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """What was written.

    model: fingerprint of the collection's model
    points: number of points written
    found: number in the collection afterwards; it differs if a job wrote meanwhile
    columns: names of the columns
    where: the filter, as text
    bytes: size of the file
    seconds: duration of the export
    failed: number of images that could not be read, if they were asked for
    refused: source, path and reason of the first of them
    """

    file: Path
    alias: str
    collection: str
    model: str
    points: int
    found: int
    columns: tuple[str, ...]
    where: str | None
    bytes: int
    seconds: float
    failed: int = 0
    refused: Sequence[Mapping[str, str]] = ()

    def to_json(self) -> dict[str, Any]:
        names = ("alias", "collection", "model", "points", "found", "where", "bytes", "failed")
        facts = {name: getattr(self, name) for name in names}
        lists = {"columns": list(self.columns), "refused": list(self.refused)}
        return {"file": str(self.file), **facts, **lists, "seconds": round(self.seconds, 2)}


def export(
    store: Store,
    alias: str,
    file: Path,
    where: str | Filter | None = None,
    report: ReportCount = ignore,
    images: Mapping[str, Source] | None = None,
) -> ExportSummary:
    """Write the points of the alias's collection to a file, in the order of their ids.

    The columns are:

    - `id`: text
    - `code`: the embedding, float32[dim], bit by bit as the engine holds it
    - the fields of `FIELDS`, whether or not a point has them
    - the user's fields, sorted by name
    - `image`, if asked for: the image files, as `datasets` stores them; null for those that cannot be read

    Each column has one type: text, int64, float64 or bool. A mixture of int64 and float64 is float64 if that is exact.
    Any other mixture is text, and so are lists and objects, which are written as JSON. A missing field is null. An
    `.npz` has no null: there it is "", 0, NaN or False, and the bool array `NAME.missing` marks it.

    The file's metadata is a JSON object under the key `retrieval` of a Parquet file, in the array `metadata` of an
    `.npz`. An existing file is replaced when the new one is complete. There is no snapshot: each point is written as
    it was when it was read, and what a job writes during the export may be in the file or not.

    store: the engine
    alias: of the collection
    file: to write, `.parquet` or `.npz`
    where: only points that match this filter
    report: called with the number of points written, and their total
    images: the collection's sources, to write the images too; a Parquet file only

    Raises UsageError for a file that cannot be written or hold images, or a filter that is malformed or names an
    unknown field, NoCollection, StoreError when a job changed the type of a field meanwhile, RetrievalError when the
    disk refuses; an existing file is then unchanged.
    """
    started = time.monotonic()
    check_file(file)
    if images is not None and file.suffix.lower() != ".parquet":
        raise UsageError(f"{file}: only a Parquet file can hold images", option="images", hint="name it .parquet")
    collection = resolve(store, alias)
    meta = store.metadata(collection)
    chosen = parse(where) if isinstance(where, str) else where
    if chosen is not None:
        check_fields(store, collection, chosen)
    condition = where if where is None or isinstance(where, str) else repr(where)
    columns, total, size = survey(store, collection, chosen, OWN if images is None else (*OWN, IMAGE.name))
    rows = max(1, GROUP_BYTES // (4 * meta.dim + size))
    page = min(PAGE, rows)
    points = itertools.chain.from_iterable(store.scroll(collection, chosen, codes=True, page=page))
    pages = (make_table(collection, group, columns, meta.dim) for group in cut_groups(points, page))
    tables: Iterator[pa.Table] = map(pa.concat_tables, cut_groups(pages, rows // page))
    added = None
    if images is not None:
        added = ExportedImages(images)
        tables = (
            make_table(collection, group, columns, meta.dim).append_column(IMAGE, files)
            for group, files in added.cut_groups(points, rows)
        )
    schema = make_schema(columns) if added is None else make_schema(columns).append(IMAGE)
    facts = describe_file(meta, alias, collection, condition)
    try:
        with open_atomic(file) as draft:
            if file.suffix.lower() == ".npz":
                with tempfile.TemporaryFile(dir=file.parent) as whole:
                    written = write_parquet(whole, tables, schema, facts, lambda done: report(done, total))
                    write_npz(draft, whole, columns, meta.dim)
            else:
                written = write_parquet(draft, tables, schema, facts, lambda done: report(done, total))
            draft.flush()
            taken = os.fstat(draft.fileno()).st_size
    except OSError as error:
        raise RetrievalError(
            f"{file} cannot be written: {error.strerror or error}; an existing file is unchanged",
            hint="make room or choose another place, and run the same command again",
        ) from error
    found, seconds = store.count(collection, chosen), time.monotonic() - started
    failed, refused = (added.failed, added.refused) if added else (0, [])
    return ExportSummary(
        *(file, alias, collection, meta.model, written, found, tuple(schema.names), condition, taken, seconds),
        failed=failed,
        refused=refused,
    )


def check_file(file: Path) -> None:
    """Raise UsageError for a name with another suffix, or a folder that cannot be written to."""
    if file.suffix.lower() not in (".parquet", ".npz"):
        raise UsageError(f"{file}: its name must end in .parquet or .npz")
    if file.is_dir():
        raise UsageError(f"{file} is a folder", hint="name a file")
    try:
        with tempfile.TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise write_error(file, error, UsageError) from error


def describe_file(meta: CollectionMeta, alias: str, collection: str, where: str | None) -> dict[str, Any]:
    """The file's metadata, without the number of its points."""
    kept = ("model", "dim", "distance", "image_size", "channels", "fit", "sources")
    facts = meta.to_json()
    own = {"format": FORMAT, "alias": alias, "collection": collection}
    return {**own, **{name: facts[name] for name in kept if name in facts}, "where": where, "exported": utc_now()}


def survey(store: Store, collection: str, where: Filter | None, own: Sequence[str]) -> tuple[list[Column], int, int]:
    """The columns, the number of points, and the mean bytes of a payload. own: as for `choose_columns`."""
    kinds: dict[str, set[str]] = {}
    points = size = 0
    for page in store.scroll(collection, where, page=PAGE):
        points += len(page)
        for name, value in itertools.chain.from_iterable(point.payload.items() for point in page):
            if value is not None:
                kinds.setdefault(name, set()).add(find_kind(value))
                size += len(value) if isinstance(value, str) else 8
    return choose_columns(kinds, own), points, size // max(1, points)


def find_kind(value: object) -> str:
    """A value's Kind; `long` for a whole number that float64 cannot hold exactly, `other` for lists and objects."""
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, int):
        return "whole" if abs(value) <= EXACT else "long" if -(2**63) <= value < 2**63 else "other"
    return "number" if isinstance(value, float) else "text" if isinstance(value, str) else "other"


def find_common_kind(kinds: set[str]) -> Kind:
    """The kind of a column with values of these kinds.

    >>> common({"whole", "number"}), common({"long", "number"}), common({"truth", "whole"})
    ('number', 'text', 'text')
    """
    if kinds <= {"whole", "long"}:
        return "whole"
    if kinds <= {"whole", "number"}:
        return "number"
    return "truth" if kinds == {"truth"} else "text"


def choose_columns(kinds: dict[str, set[str]], own: Sequence[str]) -> list[Column]:
    """Our own fields in their order, then the user's by name, each with a unique name in the file.

    own: names in the file that a user's field cannot have
    """
    columns = []
    for name, field in FIELDS.items():
        usual = {"whole" if field.kind == "number" else "text"}
        columns.append(Column(name, name, find_common_kind(kinds.get(name, usual))))
    taken = {*own, *FIELDS, *(f"{name}.missing" for name in FIELDS)}
    for field_name in sorted(kinds.keys() - FIELDS.keys()):
        name = field_name
        while name in taken:
            name = PREFIX + name
        taken |= {name, f"{name}.missing"}
        columns.append(Column(field_name, name, find_common_kind(kinds[field_name])))
    return columns


def cut_groups(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Groups of `size` items, however large the engine's pages are, so that both engines write the same row groups."""
    while group := list(itertools.islice(items, size)):
        yield group


def make_table(collection: str, points: Sequence[Point], columns: Sequence[Column], dim: int) -> pa.Table:
    """The points as rows. Raises StoreError for a field of another kind than its column, or without a column."""
    known = {column.field for column in columns}
    new = {name for point in points for name in point.payload.keys() - known if point.payload[name] is not None}
    codes = codes_of(points)
    starts = pa.array(np.arange(0, codes.size + 1, dim, dtype=np.int32))
    try:
        if new:
            raise pa.ArrowInvalid(f"new field {min(new)!r}")
        fields = [
            pa.array(
                [convert_value(point.payload.get(column.field), column.kind) for point in points], TYPES[column.kind]
            )
            for column in columns
        ]
    except pa.ArrowException as error:
        raise StoreError(
            f"{collection} was changed while it was read ({' '.join(str(error).split())})",
            hint="run the same command again",
        ) from error
    ids = pa.array([point.id for point in points], pa.string())
    return pa.table([ids, pa.ListArray.from_arrays(starts, pa.array(codes.reshape(-1))), *fields], make_schema(columns))


def make_schema(columns: Sequence[Column]) -> pa.Schema:
    """The schema of the Parquet file, without images."""
    own = [pa.field("id", pa.string(), nullable=False), pa.field("code", pa.list_(pa.float32()))]
    return pa.schema([*own, *(pa.field(column.name, TYPES[column.kind]) for column in columns)])


def convert_value(value: Any, kind: Kind) -> Any:
    """Convert a value to its column's kind."""
    if kind == "text" and value is not None and not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    return float(value) if kind == "number" and type(value) is int else value


def write_parquet(
    file: BinaryIO,
    tables: Iterable[pa.Table],
    schema: pa.Schema,
    facts: dict[str, Any],
    report: Callable[[int], None],
) -> int:
    """Write each table as a row group, then the metadata. Returns the number of points."""
    written = 0
    with pq.ParquetWriter(file, schema, compression="zstd", store_schema=False) as writer:
        for part in tables:
            writer.write_table(part, row_group_size=len(part))
            written += len(part)
            report(written)
        features = FEATURES if IMAGE.name in schema.names and schema.field(IMAGE.name) == IMAGE else {}
        own = {"retrieval": json.dumps({**facts, "points": written}, ensure_ascii=False)}
        writer.add_key_value_metadata({**own, **features})
    return written


def write_npz(file: BinaryIO, whole: BinaryIO, columns: Sequence[Column], dim: int) -> None:
    """Write the Parquet file's columns as arrays that numpy loads without pickle, a few rows at a time."""
    parquet = pq.ParquetFile(whole, pre_buffer=False)
    rows = parquet.metadata.num_rows
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        codes = (pc.list_flatten(part).to_numpy() for part in read_column(parquet, "code"))
        write_array(archive, "code", "<f4", (rows, dim), codes)
        for _, name, kind in (Column("id", "id", "text"), *columns):
            seen = [(part.null_count, measure_width(part)) for part in read_column(parquet, name)]
            dtype = f"<U{max((width for _, width in seen), default=1)}" if kind == "text" else DTYPES[kind]
            write_array(
                archive, name, dtype, (rows,), (fill_missing(part, kind) for part in read_column(parquet, name))
            )
            if any(missing for missing, _ in seen):
                gaps = (part.is_null().to_numpy() for part in read_column(parquet, name))
                write_array(archive, f"{name}.missing", "|b1", (rows,), gaps)
        with archive.open("metadata.npy", "w") as member:
            metadata = np.array(parquet.metadata.metadata[b"retrieval"].decode())
            np.lib.format.write_array(member, metadata, allow_pickle=False)


def read_column(parquet: pq.ParquetFile, name: str) -> Iterator[pa.ChunkedArray]:
    """A column, in pieces of PAGE rows.

    Without Arrow's threads: one that lets go of a Python file while the interpreter ends would abort the process.
    """
    for group in range(parquet.metadata.num_row_groups):
        column = parquet.read_row_group(group, columns=[name], use_threads=False).column(name)
        yield from (column.slice(start, PAGE) for start in range(0, len(column), PAGE))


def measure_width(part: pa.ChunkedArray) -> int:
    """Length of the longest text, at least 1, because numpy has no shorter text type."""
    return max(1, pc.max(pc.utf8_length(part)).as_py() or 0) if pa.types.is_string(part.type) else 1


def fill_missing(part: pa.ChunkedArray, kind: Kind) -> np.ndarray:
    """The piece with the kind's filler for missing values."""
    whole = part.fill_null(FILLERS[kind])
    return np.array(whole.to_pylist()) if kind == "text" else whole.to_numpy()


def write_array(
    archive: zipfile.ZipFile, name: str, dtype: str, shape: tuple[int, ...], arrays: Iterable[np.ndarray]
) -> None:
    """Write an array of this shape to the archive, piece by piece."""
    with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
        header = {"descr": dtype, "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        for array in arrays:
            member.write(np.ascontiguousarray(array, dtype).tobytes())
