"""Data sets by name: IDX files on this machine, or downloaded once.

Looked for in `$RETRIEVAL_DATA/<name>/`, the system's data folder (Debian's dataset-fashion-mnist), this package
(mnist-sample) and `$RETRIEVAL_HOME/data/<name>/`. Missing files are downloaded to the last of these.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from numpy import ndarray

from retrieval.errors import BadImage, SourceError
from retrieval.schema.arrays import UInt8
from retrieval.schema.records import Root, full_name
from retrieval.sources.base import Entry
from retrieval.sources.download import ReportDownload, download
from retrieval.sources.idx import read_pair
from retrieval.sources.known_datasets import DATASETS, PACKAGED, SPLITS, SYSTEM_DATA, KnownDataset

if TYPE_CHECKING:
    from retrieval.config import Settings


@dataclass(frozen=True, slots=True)
class Split:
    """One pair of IDX files in memory.

    prefix: of its keys
    mtime_ns: of the images' file
    """

    prefix: str
    images: UInt8[ndarray, "n h w"]
    labels: UInt8[ndarray, " n"]
    mtime_ns: int


class DataSet:
    """Splits of a data set. Each image is read as a PGM file; its key is its index, `00042`, or `train/00042`."""

    whole = True
    labels = False
    portable = False

    def __init__(self, name: str, spec: str, splits: Sequence[Split]) -> None:
        self.name = name
        self.spec = spec
        self._splits = {split.prefix: split for split in splits}

    def entries(self) -> Iterator[Entry]:
        """Every image, split by split, in the order of the files."""
        for split in self._splits.values():
            count, height, width = split.images.shape
            size = len(_pgm_header(height, width)) + height * width
            for index in range(count):
                key = f"{split.prefix}{index:05d}"
                label = str(split.labels[index])
                yield Entry(self.name, key, size, split.mtime_ns, label, partial(self.read, key), in_turn=True)

    def read(self, key: str) -> bytes:
        """The image with that key as a PGM file; raises BadImage."""
        pixels = self._pixels(key)
        if pixels is None:
            raise BadImage(full_name(self.name, key), f"no such image in {self.spec}")
        return _pgm_header(*pixels.shape) + bytes(pixels)

    def identify(self) -> Root:
        """The data set's name, which is the same on every machine."""
        return Root(self.spec)

    def check_unchanged(self) -> None:
        """Nothing to check: the whole data set is in memory."""

    def has(self, key: str) -> bool:
        """Whether an image has that index."""
        return self._pixels(key) is not None

    def _pixels(self, key: str) -> UInt8[ndarray, "h w"] | None:
        match = re.fullmatch(r"(\w+/)?([0-9]{5,9})", key)
        split = self._splits.get(match[1] or "") if match else None
        index = int(match[2]) if match else 0
        if split is None or index >= len(split.images) or key != f"{split.prefix}{index:05d}":
            return None
        pixels: UInt8[ndarray, "h w"] = split.images[index]
        return pixels


def open_dataset(spec: str, settings: "Settings", name: str, progress: ReportDownload | None) -> DataSet:
    """Open `mnist`, `mnist:train` …; raises SourceError for an unknown split and for missing or damaged files."""
    base, _, wanted = spec.partition(":")
    if wanted not in ("", *SPLITS):
        raise SourceError(f"{spec}: no such split", hint=f"there are {base}:train and {base}:test")
    splits = []
    for split in [wanted] if wanted else SPLITS:
        images, labels = _find_or_download(DATASETS[base], SPLITS[split], settings, progress)
        prefix = "" if wanted else f"{split}/"
        splits.append(Split(prefix, *read_pair(images, labels), images.stat().st_mtime_ns))
    return DataSet(name, spec, splits)


def needs_download(spec: str, settings: "Settings") -> bool:
    """Whether the spec names a data set whose files are not on this machine."""
    base, _, wanted = spec.partition(":")
    splits = [split for split in ([wanted] if wanted else SPLITS) if split in SPLITS]
    return base in DATASETS and not all(_find(DATASETS[base], SPLITS[split], settings) for split in splits)


def _file_names(stem: str) -> tuple[str, str]:
    return f"{stem}-images-idx3-ubyte", f"{stem}-labels-idx1-ubyte"


def _find(dataset: KnownDataset, stem: str, settings: "Settings") -> tuple[Path, Path] | None:
    """The images' and the labels' file of a split, in the first folder that holds both."""
    for root in (settings.data, SYSTEM_DATA, PACKAGED, settings.downloads):
        if root and all(found := [_plain_or_gzipped(root / dataset.name / file) for file in _file_names(stem)]):
            images, labels = (path for path in found if path)
            return images, labels
    return None


def _find_or_download(
    dataset: KnownDataset, stem: str, settings: "Settings", progress: ReportDownload | None
) -> tuple[Path, Path]:
    """As `_find`, but downloads missing files."""
    if here := _find(dataset, stem, settings):
        return here
    targets = [settings.downloads / dataset.name / f"{file}.gz" for file in _file_names(stem)]
    for target in targets:
        try:
            download([mirror + target.name for mirror in dataset.mirrors], target, dataset.md5[target.name], progress)
        except SourceError as error:
            folder = (settings.data or Path("$RETRIEVAL_DATA")) / dataset.name
            raise SourceError(
                f"{dataset.name}: not on this machine, and no mirror served it ({error})",
                hint=f"put its files ({target.name} …) into {folder}/, or {dataset.instead}",
            ) from error
    return targets[0], targets[1]


def _plain_or_gzipped(path: Path) -> Path | None:
    return next((file for file in (path, path.with_name(f"{path.name}.gz")) if file.is_file()), None)


def _pgm_header(height: int, width: int) -> bytes:
    return b"P5\n%d %d\n255\n" % (width, height)
