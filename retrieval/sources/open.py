"""Open a source from what the user typed: a path, a URL or a data set's name."""

import contextlib
import difflib
import itertools
import stat
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from retrieval.errors import RetrievalError, SourceError
from retrieval.schema.records import Root
from retrieval.sources.base import Source, check_source_name, default_name, is_image
from retrieval.sources.folder import File, Folder
from retrieval.sources.known_datasets import DATASET_NAMES, DATASETS
from retrieval.sources.presence import Snapshot, file_state, local_root
from retrieval.sources.tables import open_tables
from retrieval.util.extras import needs

ARCHIVE_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
PARQUET_SUFFIX, LIST_SUFFIX = ".parquet", ".txt"

_UNDERSTOOD = (
    f"a source is a folder, an archive ({' '.join(ARCHIVE_SUFFIXES)}) or a Parquet file ({PARQUET_SUFFIX}), each here"
    " or by URL (s3://bucket/folder), an image file, a text file of paths"
    f" ({LIST_SUFFIX}), or a data set ({', '.join(DATASETS)})"
)

if TYPE_CHECKING:
    from retrieval.config import Settings
    from retrieval.sources.download import ReportDownload


def open_source(
    spec: str,
    settings: "Settings",
    *,
    name: str | None = None,
    labels: bool = False,
    progress: "ReportDownload | None" = None,
) -> Source:
    """Open a source.

    spec: path, URL or data set name; a data set comes before a file of that name (write `./mnist` for the file)
    name: the source's short name (default: made from the name of the folder, file or data set)
    labels: take the name of an image's parent folder as its label, or a Parquet file's column of labels; data sets have
        labels of their own
    progress: called during downloads

    Raises SourceError if nothing is there or it is not understood, UsageError for an invalid `name`.
    """
    if name is not None:
        check_source_name(name)
    if spec.partition(":")[0] in DATASETS:
        from retrieval.sources.dataset import open_dataset

        return open_dataset(spec, settings, name or spec, progress)
    if spec.startswith(("file://", "local://")):
        from urllib.request import url2pathname

        return _open_path(url2pathname(urlsplit(spec).path), name, labels)
    if "://" in spec:
        return _open_url(spec, name, labels)
    return _open_path(spec, name, labels)


def open_known(known: Mapping[str, str], settings: "Settings") -> dict[str, Source]:
    """Open the sources in a collection's metadata; those that cannot be opened are left out.

    known: name → spec
    """
    found: dict[str, Source] = {}
    for name, spec in known.items():
        with contextlib.suppress(RetrievalError):
            found[name] = open_source(spec, settings, name=name)
    return found


def _open_path(spec: str, name: str | None, labels: bool) -> Source:
    path = Path(spec).resolve() if ".." in Path(spec).parts else Path(spec).absolute()
    try:
        str(path).encode()  # it is stored in the collection's metadata
        mode = path.stat().st_mode if spec else 0
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceError(f"{spec}: no such file or folder", hint=_near_miss(spec, path) or _UNDERSTOOD) from error
    except (OSError, ValueError) as error:
        raise SourceError(f"{spec!r} cannot be opened: {error}") from error
    if stat.S_ISDIR(mode):
        name = name or default_name(path.name)
        return open_tables(name, path, labels=labels) or Folder(name, path, labels=labels)
    stem, kind = _stem_and_kind(path.name)
    if not stat.S_ISREG(mode) or not (kind or is_image(path.name)):
        raise SourceError(f"{spec!r} is not understood", hint=_UNDERSTOOD)
    try:
        if kind == LIST_SUFFIX:
            from retrieval.sources.pathlist import PathList

            return PathList(name or default_name(stem), path, labels=labels)
        root, snapshot = local_root(path), Snapshot(str(path), partial(file_state, path))
        if kind == PARQUET_SUFFIX:
            with needs("parquet", spec, SourceError):
                from retrieval.sources.parquet import Parquet

            mtime_ns = path.stat().st_mtime_ns
            return Parquet(name or default_name(stem), root, str(path), mtime_ns, snapshot, labels=labels)
        if kind:
            from retrieval.sources.archive import Archive

            return Archive(name or default_name(stem), root, path.open("rb"), snapshot, labels=labels)
    except OSError as error:
        raise SourceError(f"{spec} cannot be opened: {error.strerror}") from error
    return File(name or default_name(path.parent.name), path)


def _open_url(url: str, name: str | None, labels: bool) -> Source:
    from retrieval.sources.filesystem import UrlPath

    place = UrlPath(url)
    path = url.partition("?")[0] if place.protocol in ("http", "https") else url
    stem, kind = _stem_and_kind(path.rstrip("/").rpartition("/")[2])
    if kind == LIST_SUFFIX or is_image(stem):
        raise SourceError(f"{url} is not understood", hint=_UNDERSTOOD)
    name = name or default_name(stem)
    if kind == PARQUET_SUFFIX:
        with needs("parquet", url, SourceError):
            from retrieval.sources.parquet import Parquet

        snapshot = Snapshot(url, place.state)
        return Parquet(name, Root(url), place.open(), place.mtime_ns(), snapshot, labels=labels)
    if kind:
        from retrieval.sources.archive import Archive

        snapshot = Snapshot(url, place.state)
        return Archive(name, Root(url), place.open(), snapshot, labels=labels)
    from retrieval.sources.remote import RemoteFolder

    return RemoteFolder(name, place, labels=labels)


def _stem_and_kind(filename: str) -> tuple[str, str]:
    """A file's name without the suffix of its kind, and that suffix; `("photos", "")` if it has none."""
    suffixes = (*ARCHIVE_SUFFIXES, PARQUET_SUFFIX, LIST_SUFFIX)
    kind = next((suffix for suffix in suffixes if filename.lower().endswith(suffix)), "")
    return filename[: len(filename) - len(kind)], kind


def _near_miss(spec: str, path: Path) -> str:
    """`did you mean mnist-sample?` if a data set or a file beside the path has a similar name; otherwise empty."""
    close = difflib.get_close_matches(spec.lower(), DATASET_NAMES, n=1, cutoff=0.75)
    with contextlib.suppress(OSError):
        neighbours = [child.name for child in itertools.islice(path.parent.iterdir(), 1000)]
        close += difflib.get_close_matches(path.name, neighbours, n=1, cutoff=0.75)
    return f"did you mean {close[0]}?" if close else ""
