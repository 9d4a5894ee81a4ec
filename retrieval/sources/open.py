"""From what was typed to a source: decides which kind it is, and says what would have been understood."""

import contextlib
import difflib
import itertools
import stat
from pathlib import Path, PurePosixPath
from typing import BinaryIO, cast
from urllib.parse import urlsplit
from urllib.request import url2pathname

from retrieval.config import Settings
from retrieval.errors import SourceError
from retrieval.sources.archive import ARCHIVE_SUFFIXES, Archive
from retrieval.sources.base import Source, check_name, default_name, is_image
from retrieval.sources.catalog import DATASET_NAMES, DATASETS
from retrieval.sources.dataset import open_dataset
from retrieval.sources.download import Progress
from retrieval.sources.folder import File, Folder

_UNDERSTOOD = (
    "a source is a folder, an image file, an archive"
    f" ({' '.join(ARCHIVE_SUFFIXES)}, here or by URL) or a data set ({', '.join(DATASETS)})"
)


def open_source(
    spec: str,
    settings: Settings,
    *,
    name: str | None = None,
    labels: bool = False,
    progress: Progress | None = None,
) -> Source:
    """The source that `spec` means; a data set's name comes before a file so called (that is `./mnist`).

    name: instead of the default, which is made from the name of the folder, archive or data set. labels: an
    image's label is the name of its parent folder; data sets bring their own. progress: for downloads.

    Raises SourceError when nothing is there or it cannot be understood, UsageError for a `name` that is none.
    """
    if name is not None:
        check_name(name)
    if spec.partition(":")[0] in DATASETS:
        return open_dataset(spec, settings, name or spec, progress)
    if spec.startswith("file://"):
        return _open_path(url2pathname(urlsplit(spec).path), name, labels)
    if "://" in spec:
        return _open_url(spec, name, labels)
    return _open_path(spec, name, labels)


def _open_path(spec: str, name: str | None, labels: bool) -> Source:
    path = Path(spec).resolve() if ".." in Path(spec).parts else Path(spec).absolute()
    try:
        str(path).encode()  # it is kept in the collection's metadata
        mode = path.stat().st_mode if spec else 0
    except (FileNotFoundError, NotADirectoryError) as error:
        raise SourceError(f"{spec}: no such file or folder; {_near_miss(spec, path) or _UNDERSTOOD}") from error
    except (OSError, ValueError) as error:
        raise SourceError(f"{spec!r} cannot be opened: {error}") from error
    if stat.S_ISDIR(mode):
        return Folder(name or default_name(path.name), path, labels=labels)
    if stat.S_ISREG(mode) and (stem := _archive_stem(path.name)):
        try:
            return Archive(name or default_name(stem), str(path), path.open("rb"), labels=labels)
        except OSError as error:
            raise SourceError(f"{spec} cannot be opened: {error.strerror}") from error
    if stat.S_ISREG(mode) and is_image(path.name):
        return File(name or default_name(path.parent.name), path)
    raise SourceError(f"{spec!r} is not understood; {_UNDERSTOOD}")


def _open_url(url: str, name: str | None, labels: bool) -> Source:
    stem = _archive_stem(PurePosixPath(urlsplit(url).path).name)
    if stem is None:
        raise SourceError(f"{url} is not understood; {_UNDERSTOOD}")
    try:
        import fsspec

        file = cast(BinaryIO, fsspec.open(url, "rb").open())
    except Exception as error:  # each protocol fails in its own ways
        raise SourceError(f"{url} cannot be opened: {' '.join(str(error).split())}") from error
    return Archive(name or default_name(stem), url, file, labels=labels)


def _archive_stem(filename: str) -> str | None:
    """The file's name without its archive suffix; None when it is no archive's."""
    suffix = next((s for s in ARCHIVE_SUFFIXES if filename.lower().endswith(s)), None)
    return filename[: -len(suffix)] if suffix else None


def _near_miss(spec: str, path: Path) -> str:
    """`did you mean mnist-sample?` when a data set or a neighbour is called nearly so, else nothing."""
    close = difflib.get_close_matches(spec.lower(), DATASET_NAMES, n=1, cutoff=0.75)
    with contextlib.suppress(OSError):
        neighbours = [child.name for child in itertools.islice(path.parent.iterdir(), 1000)]
        close += difflib.get_close_matches(path.name, neighbours, n=1, cutoff=0.75)
    return f"did you mean {close[0]}?" if close else ""
