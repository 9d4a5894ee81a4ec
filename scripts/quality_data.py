"""The data sets of scripts/bench_quality, as sources of `retrieval`: cut in two, or turned grey, where asked for."""

import io
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

DATA = ("sign-digits", "grocery", "clothing", "cifar10", "mnist")
SPLIT = ("cifar10", "mnist")
"""Data sets with training images and test images."""
JPEG_QUALITY = 95


@dataclass(frozen=True)
class Task:
    """What is counted: each image of `searched` searches the others, or those of `asked` search them."""

    name: str
    searched: str
    asked: str | None = None


@dataclass(frozen=True)
class Collection:
    """Images to train on, as a source of `retrieval`, and what is counted after that."""

    name: str
    train: str
    tasks: Sequence[Task]


def find_collections(root: Path | None, folder: Path, wanted: Sequence[str], *, grey: bool) -> Iterator[Collection]:
    """The data sets that are there.

    root: $RETRIEVAL_DATA
    folder: where archives are written
    grey: also each colour data set turned grey
    """
    for name in wanted:
        if root is None or not (root / name).is_dir():
            continue
        if name == "mnist":
            yield split_collection(name, "mnist:train", "mnist:test")
            continue
        whole = root / name / f"{name}.zip"
        for turned_grey in (False, True) if grey else (False,):
            title = f"{name}, grey" if turned_grey else name
            if name in SPLIT:
                train, test = (copy_zip(whole, folder, part, grey=turned_grey) for part in ("train/", "test/"))
                yield split_collection(title, train, test)
            else:
                spec = copy_zip(whole, folder, "", grey=True) if turned_grey else str(whole)
                yield Collection(title, spec, [Task("leave-one-out", spec)])


def split_collection(name: str, train: str, test: str) -> Collection:
    """A data set whose test images search the training images, or each other."""
    return Collection(name, train, [Task("test in training", train, test), Task("leave-one-out, test", test)])


def copy_zip(whole: Path, folder: Path, prefix: str, *, grey: bool) -> str:
    """The members of a zip whose names begin with the prefix, as another zip; returns its path."""
    path = folder / f"{whole.stem}-{prefix.strip('/') or 'all'}{'-grey' if grey else ''}.zip"
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
        for member in old.infolist():
            if member.filename.startswith(prefix) and not member.is_dir():
                data = old.read(member)
                new.writestr(member.filename, turn_grey(data) if grey else data)
    return str(path)


def turn_grey(data: bytes) -> bytes:
    """An image file without its colour, as a JPEG file of one channel."""
    file = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        ImageOps.exif_transpose(image).convert("L").save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()
