"""Data sets known by name: the folders to look in, and mirrors and checksums of their files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SPLITS = {"train": "train", "test": "t10k"}
"""A split's name → the prefix of its files' names."""

SYSTEM_DATA = Path("/usr/share/datasets")
"""Where Debian's data set packages are installed, one folder each."""
PACKAGED = Path(__file__).parent.parent / "data"
"""Data that is part of this package."""


@dataclass(frozen=True, slots=True)
class KnownDataset:
    """A data set known by name.

    mirrors: base URLs, tried in turn
    md5: file name → published MD5 of the `.gz` file
    instead: what to do if no mirror serves it
    """

    name: str
    mirrors: tuple[str, ...] = ()
    md5: Mapping[str, str] = field(default_factory=dict)
    instead: str = ""


_ALL = (
    KnownDataset("mnist-sample"),
    KnownDataset(
        "mnist",
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
        "take mnist-sample, which needs no download",
    ),
    KnownDataset(
        "fashion-mnist",
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
        "install Debian's package dataset-fashion-mnist",
    ),
)

DATASETS = {dataset.name: dataset for dataset in _ALL}
DATASET_NAMES = tuple(f"{name}{split}" for name in DATASETS for split in ("", ":train", ":test"))
